import * as vscode from 'vscode';

/** What the Explorer and the system's file managers drop. */
export const URI_LIST = 'text/uri-list';

/** The dropped addresses (RFC 2483: one a line, comments begin with #). */
export async function droppedUris(data: vscode.DataTransfer): Promise<vscode.Uri[]> {
  const list = await data.get(URI_LIST)?.asString() ?? '';
  return list.split(/\r?\n/).filter(line => line !== '' && !line.startsWith('#')).map(line => vscode.Uri.parse(line, true));
}
