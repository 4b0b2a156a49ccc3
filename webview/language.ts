import { config } from '@vscode/l10n';

// The host puts the translation on the body. Texts are looked up when their module loads, so pages import this before anything else.
const { words } = document.body.dataset;
if (words !== undefined) config({ contents: words });
