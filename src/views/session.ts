import * as vscode from 'vscode';
import type { Checkpoint } from '../checkpoint/checkpoint';
import type { ConfigDocument } from '../architecture/config';
import { UserError } from '../errors';
import { updateJob, type Job } from '../job';
import { recipeToJson, type Recipe } from '../recipe/recipe';
import { History } from './history';
import { Openings } from './openings';
import { Readers } from './readers';

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
  /** The last reading of each config file, or why there is none, so that going back does not bring back an old text. */
  private readonly configs = new Map<string, ConfigDocument | UserError>();
  private readonly readers = new Readers();
  private readonly openings = new Openings();
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

  /** To be called when an opening begins: of several that overlap, the one that was started last stays. */
  startOpening(): number {
    return this.openings.start();
  }

  /**
   * Shows what `opening` has opened and closes the checkpoint that was open before.
   * @returns whether it is shown; when an opening that was started later is shown already, `job`'s checkpoint is closed instead
   */
  async open(job: Job, opening = this.startOpening()): Promise<boolean> {
    if (!this.openings.admit(opening)) {
      await job.checkpoint.close();
      return false;
    }
    const before = this.currentJob;
    this.configs.clear();
    this.history = new History(choicesOf(job));
    this.show(job);
    if (before !== undefined) await this.readers.close(before.checkpoint);
    return true;
  }

  /** Whether `checkpoint` is still the open one, which it may not be after a question to the person. */
  isOpen(checkpoint: Checkpoint): boolean {
    return this.currentJob?.checkpoint === checkpoint;
  }

  async close(): Promise<void> {
    const before = this.currentJob;
    this.history = undefined;
    this.show(undefined);
    if (before !== undefined) await this.readers.close(before.checkpoint);
  }

  /** Runs a task that reads the open checkpoint to its end, whatever is opened meanwhile. */
  reading<T>(checkpoint: Checkpoint, task: () => Promise<T>): Promise<T> {
    return this.readers.read(checkpoint, task);
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
    if (this.currentJob?.config === undefined) return;
    this.configs.set(this.currentJob.config.location, problem);
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
    const read = choices.config === undefined ? undefined : this.configs.get(choices.config.location) ?? choices.config;
    const [config, configProblem] = read instanceof UserError ? [choices.config, read] : [read, choices.configProblem];
    this.show(updateJob({ ...this.currentJob, config, configProblem }, { recipe: choices.recipe }));
  }

  private show(job: Job | undefined): void {
    const before = this.currentJob;
    this.currentJob = job;
    this.changed.fire({ before, after: job });
  }

  dispose(): void {
    this.changed.dispose();
    if (this.currentJob !== undefined) void this.readers.close(this.currentJob.checkpoint);
  }
}

function choicesOf({ recipe, detection, config, configProblem }: Job): Choices {
  return { recipe, origin: detection === undefined ? { kind: 'none' } : { kind: 'preset', reason: detection.reason }, config, configProblem };
}
