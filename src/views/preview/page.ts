import * as vscode from 'vscode';
import { randomBytes } from 'node:crypto';

/**
 * A page that the extension's script of that name fills. Nothing but the extension's own script and style sheet is let in; pictures come
 * as blobs that the script makes of bytes it was sent. The page's words in the editor's language travel in an attribute.
 */
export function pageHtml(webview: vscode.Webview, extension: vscode.Uri, page: 'main' | 'inspector'): string {
  const nonce = randomBytes(16).toString('base64');
  const file = (name: string): string => webview.asWebviewUri(vscode.Uri.joinPath(extension, 'dist', 'webview', name)).toString();
  const policy = [
    "default-src 'none'",
    'img-src blob:',
    `script-src 'nonce-${nonce}'`,
    `style-src ${webview.cspSource}`,
  ].join('; ');
  return `<!DOCTYPE html>
<html lang="${escapeAttribute(vscode.env.language)}">
<head>
  <meta charset="utf-8">
  <meta http-equiv="Content-Security-Policy" content="${policy}">
  <meta name="viewport" content="width=device-width, initial-scale=1">
  <link rel="stylesheet" href="${file(`${page}.css`)}">
  <title>Vision Encoder</title>
</head>
<body data-words="${escapeAttribute(JSON.stringify(vscode.l10n.bundle ?? {}))}">
  <script type="module" nonce="${nonce}" src="${file(`${page}.js`)}"></script>
</body>
</html>`;
}

function escapeAttribute(text: string): string {
  return text.replace(/&/g, '&amp;').replace(/"/g, '&quot;').replace(/</g, '&lt;');
}
