import * as vscode from 'vscode';
import type { ConfigDocument, TextRange } from '../architecture/config';
import { formatCount } from '../format';
import type { Fix } from '../validation/validation';
import { visible } from './markdown';
import { documentUri } from './remoteDocuments';
import type { Session } from './session';
import { placeReports, type PlaceReport } from './validationModel';

const SOURCE = 'Vision Encoder';
/** Keys named under one entry of the Problems panel. */
const NAMED_KEYS = 20;

/** Puts what the config is to blame for into the Problems panel, with quick fixes in the config's editor. */
export class ConfigDiagnostics implements vscode.CodeActionProvider, vscode.Disposable {
  private readonly collection = vscode.languages.createDiagnosticCollection('visionEncoder');
  private fixes = new Map<vscode.Diagnostic, readonly Fix[]>();
  private readonly subscriptions: readonly { dispose(): void }[];

  constructor(private readonly session: Session) {
    this.subscriptions = [
      this.collection,
      session.onDidChange(() => { this.update(); }),
      vscode.languages.registerCodeActionsProvider([{ language: 'json' }, { language: 'jsonc' }], this, { providedCodeActionKinds: [vscode.CodeActionKind.QuickFix] }),
    ];
  }

  provideCodeActions(document: vscode.TextDocument, range: vscode.Range): vscode.CodeAction[] {
    const here = this.collection.get(document.uri) ?? [];
    return here.filter(diagnostic => diagnostic.range.intersection(range) !== undefined).flatMap(diagnostic => (this.fixes.get(diagnostic) ?? []).map(fix => {
      const action = new vscode.CodeAction(fix.title, vscode.CodeActionKind.QuickFix);
      action.diagnostics = [diagnostic];
      action.command = { command: 'visionEncoder.applyFix', title: fix.title, arguments: [fix] };
      return action;
    }));
  }

  private update(): void {
    this.collection.clear();
    this.fixes = new Map();
    const job = this.session.job;
    if (job === undefined) return;
    if (job.configProblem !== undefined && job.config !== undefined) {
      const whole = new vscode.Diagnostic(new vscode.Range(0, 0, 0, 1), job.configProblem.message);
      whole.source = SOURCE;
      this.collection.set(documentUri(job.config.location), [whole]);
      return;
    }
    if (job.validation === undefined) return;
    const { problem } = job.validation;
    if (problem?.place !== undefined) {
      const diagnostic = new vscode.Diagnostic(rangeOf(problem.place.range), problem.message);
      diagnostic.source = SOURCE;
      this.collection.set(documentUri(problem.place.location), [diagnostic]);
    }
    const byFile = new Map<string, vscode.Diagnostic[]>();
    for (const report of placeReports(job.validation, job.config?.location)) {
      const diagnostic = this.diagnostic(report, job.config);
      this.fixes.set(diagnostic, report.fixes);
      const list = byFile.get(report.location);
      if (list === undefined) byFile.set(report.location, [diagnostic]);
      else list.push(diagnostic);
    }
    for (const [location, diagnostics] of byFile) this.collection.set(documentUri(location), diagnostics);
  }

  private diagnostic({ location, range, message, findings }: PlaceReport, config: ConfigDocument | undefined): vscode.Diagnostic {
    const place = rangeOf(range);
    const count = formatCount(findings.length, 'key');
    const diagnostic = new vscode.Diagnostic(place, findings.length === 1 ? message : `${message} (${count})`, vscode.DiagnosticSeverity.Error);
    diagnostic.source = SOURCE;
    const uri = documentUri(config?.location ?? location);
    diagnostic.relatedInformation = findings.slice(0, NAMED_KEYS).map(({ kind, finding }) => new vscode.DiagnosticRelatedInformation(new vscode.Location(uri, place), `${kindWord(kind)}: ${visible(finding.key)}`));
    if (findings.length > NAMED_KEYS) {
      diagnostic.relatedInformation.push(new vscode.DiagnosticRelatedInformation(new vscode.Location(uri, place), vscode.l10n.t('… and {0} more', findings.length - NAMED_KEYS)));
    }
    return diagnostic;
  }

  dispose(): void {
    for (const subscription of this.subscriptions) subscription.dispose();
  }
}

function rangeOf({ startLine, startColumn, endLine, endColumn }: TextRange): vscode.Range {
  return new vscode.Range(startLine, startColumn, endLine, endColumn);
}

function kindWord(kind: 'missing' | 'unexpected' | 'mismatched' | 'duplicate'): string {
  switch (kind) {
    case 'missing': return vscode.l10n.t('missing');
    case 'unexpected': return vscode.l10n.t('unexpected');
    case 'mismatched': return vscode.l10n.t('size mismatch');
    case 'duplicate': return vscode.l10n.t('duplicate');
  }
}
