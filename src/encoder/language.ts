import { config } from '@vscode/l10n';

// Some texts are looked up when their module loads, so the process's entry imports this before anything else.
const [, , words] = process.argv;
if (words !== undefined) config({ fsPath: words });
