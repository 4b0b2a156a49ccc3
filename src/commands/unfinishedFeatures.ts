import * as vscode from 'vscode';
import * as z from 'zod';
import { recipeSchema } from '../recipe/recipe';

const MEMORY = 'unfinishedFeatures';

/** A run over a folder of pictures that has not come to its end, with what begins it again. */
const runSchema = z.object({
  folder: z.string(),
  out: z.string(),
  outputs: z.array(z.string()).min(1),
  /** Whether pictures are held to the preview's size. */
  limited: z.boolean(),
  /** The location that opens the checkpoint again. */
  checkpoint: z.string(),
  recipe: recipeSchema,
  /** When it began, in milliseconds since 1970, where it starts over: shards that are older are those that it is to replace. */
  startedOver: z.number().optional(),
  /** To be done in all. */
  pictures: z.number(),
  /** Whether the person knows of it: told, or they cancelled it themselves. */
  known: z.boolean(),
});
export type UnfinishedRun = Readonly<z.infer<typeof runSchema>>;

/** The workspace's run that is under way or was cut off; it outlives the window. */
export class UnfinishedFeatures {
  constructor(private readonly memento: vscode.Memento) {}

  get(): UnfinishedRun | undefined {
    return runSchema.optional().catch(undefined).parse(this.memento.get(MEMORY));
  }

  async save(run: UnfinishedRun | undefined): Promise<void> {
    await this.memento.update(MEMORY, run);
  }
}
