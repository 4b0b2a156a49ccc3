/** Where a value stands in a config file; lines and columns count from 0, as editors' APIs do. */
export interface TextRange {
  readonly startLine: number;
  readonly startColumn: number;
  readonly endLine: number;
  readonly endColumn: number;
}

export type JsonPath = readonly (string | number)[];

/** A parsed config.json that remembers where each value stands in its text. */
export interface ConfigDocument {
  /** An absolute path or an address, for messages and for the Problems panel. */
  readonly location: string;
  readonly text: string;
  readonly value: Readonly<Record<string, unknown>>;
  /** The range of the property (name and value) at `path`, or of the nearest enclosing object that exists. */
  rangeOf(path: JsonPath): TextRange;
}
