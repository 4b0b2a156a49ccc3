/** What was, what is, and what was undone: states, not steps, so that going back cannot fail. */
export class History<State> {
  private readonly past: State[] = [];
  private future: State[] = [];

  constructor(private state: State, private readonly limit = 200) {}

  get current(): State {
    return this.state;
  }

  get canUndo(): boolean {
    return this.past.length > 0;
  }

  get canRedo(): boolean {
    return this.future.length > 0;
  }

  push(state: State): void {
    this.past.push(this.state);
    if (this.past.length > this.limit) this.past.shift();
    this.future = [];
    this.state = state;
  }

  /** Changes the present state, without a step to undo. */
  replace(state: State): void {
    this.state = state;
  }

  /** The state before, or undefined when there is none. */
  undo(): State | undefined {
    const before = this.past.pop();
    if (before === undefined) return undefined;
    this.future.push(this.state);
    this.state = before;
    return before;
  }

  redo(): State | undefined {
    const after = this.future.pop();
    if (after === undefined) return undefined;
    this.past.push(this.state);
    this.state = after;
    return after;
  }
}
