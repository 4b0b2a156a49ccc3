import * as vscode from 'vscode';
import type { ConfigDocument } from '../architecture/config';
import type { UserError } from '../errors';
import { updateJob, type Job } from '../job';
import { recipeToJson, type Recipe } from '../recipe/recipe';
import { History } from './history';

/** Where the recipe came from, for the person. */
export type RecipeOrigin =
  | { readonly kind: 'preset'; readonly reason: string }
  /** `text` is the file's recipe as recipeToJson writes it: what differs from it was edited by hand. */
  | { readonly kind: 'file'; readonly path: string; readonly text: string }
  | { readonly kind: 'none' };

/** What can be undone: the choices; everything else follows from them. */
interface Choices {
  readonly recipe: Recipe;
  readonly origin: RecipeOrigin;
  readonly config: ConfigDocument | undefined;
  readonly configProblem: UserError | undefined;
}

export interface SessionChange {
  readonly before: Job | undefined;
  readonly after: Job | undefined;
}

/** The open checkpoint with its choices. One at a time; every view follows it. */
export class Session implements vscode.Disposable {
  private currentJob: Job | undefined;
  private history: History<Choices> | undefined;
  /** The last reading of each config file, so that going back does not bring back an old text. */
  private readonly configs = new Map<string, ConfigDocument>();
  private readonly changed = new vscode.EventEmitter<SessionChange>();
  readonly onDidChange = this.changed.event;

  get job(): Job | undefined {
    return this.currentJob;
  }

  get origin(): RecipeOrigin {
    return this.history?.current.origin ?? { kind: 'none' };
  }

  get canUndo(): boolean {
    return this.history?.canUndo === true;
  }

  get canRedo(): boolean {
    return this.history?.canRedo === true;
  }

  /** Shows `job` and closes the checkpoint that was open before. */
  async open(job: Job): Promise<void> {
    const before = this.currentJob;
    this.configs.clear();
    this.history = new History(choicesOf(job));
    this.show(job);
    await before?.checkpoint.close();
  }

  async close(): Promise<void> {
    const before = this.currentJob;
    this.history = undefined;
    this.show(undefined);
    await before?.checkpoint.close();
  }

  /** Applies an edited recipe, or another one with its `origin`. */
  setRecipe(recipe: Recipe, origin: RecipeOrigin = this.origin): void {
    if (this.currentJob === undefined || this.history === undefined) return;
    // An edit that says what the recipe says already is nothing to undo.
    if (origin === this.origin && recipeToJson(recipe) === recipeToJson(this.currentJob.recipe)) return;
    const job = updateJob(this.currentJob, { recipe });
    this.history.push({ ...this.history.current, recipe, origin });
    this.show(job);
  }

  /** The recipe in force was saved to `path`, which it is followed to from now on; nothing to undo. */
  setSaved(path: string): void {
    if (this.currentJob === undefined || this.history === undefined) return;
    this.history.replace({ ...this.history.current, origin: { kind: 'file', path, text: recipeToJson(this.currentJob.recipe) } });
    this.show(this.currentJob);
  }

  /** Validates against `config` from now on. */
  setConfig(config: ConfigDocument): void {
    if (this.currentJob === undefined || this.history === undefined) return;
    const job = updateJob(this.currentJob, { config });
    this.configs.set(config.location, config);
    this.history.push({ ...this.history.current, config, configProblem: undefined });
    this.show(job);
  }

  /** The chosen config's file has changed: the same choice with another text, nothing to undo. */
  refreshConfig(config: ConfigDocument): void {
    if (this.currentJob === undefined) return;
    this.configs.set(config.location, config);
    this.show(updateJob(this.currentJob, { config }));
  }

  /** The chosen config's file cannot be read any more; it validates again when the file is whole. */
  failConfig(problem: UserError): void {
    if (this.currentJob === undefined) return;
    this.show({ ...this.currentJob, configProblem: problem, validation: undefined });
  }

  undo(): void {
    this.restore(this.history?.undo());
  }

  redo(): void {
    this.restore(this.history?.redo());
  }

  private restore(choices: Choices | undefined): void {
    if (choices === undefined || this.currentJob === undefined) return;
    const config = choices.config === undefined ? undefined : this.configs.get(choices.config.location) ?? choices.config;
    this.show(updateJob({ ...this.currentJob, config, configProblem: choices.configProblem }, { recipe: choices.recipe }));
  }

  private show(job: Job | undefined): void {
    const before = this.currentJob;
    this.currentJob = job;
    this.changed.fire({ before, after: job });
  }

  dispose(): void {
    this.changed.dispose();
    void this.currentJob?.checkpoint.close();
  }
}

function choicesOf({ recipe, detection, config, configProblem }: Job): Choices {
  return { recipe, origin: detection === undefined ? { kind: 'none' } : { kind: 'preset', reason: detection.reason }, config, configProblem };
}
