import type { Remedy } from '../errors';

/** The options that get a person on, as said after what went wrong. */
const OPTIONS: Readonly<Record<Remedy, string>> = {
  'replace': 'With --overwrite it is replaced.',
  'start over': 'With --overwrite it starts over.',
  'choose a resize': 'Or go without it: say --resize square or --resize crop.',
  'resize to one size': 'Or bring them to one size with --resize square.',
  'recognise the family': 'Or leave --family out, to have the encoder recognised.',
};

/** A message, with the option that helps. */
export function withOption(message: string, remedy: Remedy | undefined): string {
  return remedy === undefined ? message : `${message} ${OPTIONS[remedy]}`;
}
