import { version } from '../package.json';

/** What manifests and `--version` call this tool. */
export const TOOL = { name: 'vision-encoder-extractor', version } as const;
