import * as vscode from 'vscode';
import { droppedUris, URI_LIST } from './dropped';

/**
 * Where a checkpoint is dropped while none is open: the welcome of an empty tree view takes no drops,
 * so that a view with one row stands below it.
 */
export class DropView implements vscode.TreeDataProvider<'row'>, vscode.TreeDragAndDropController<'row'>, vscode.Disposable {
  readonly dropMimeTypes = [URI_LIST];
  readonly dragMimeTypes = [];
  private readonly view: vscode.TreeView<'row'>;

  constructor(private readonly onDrop: (uris: vscode.Uri[]) => Promise<void>) {
    this.view = vscode.window.createTreeView('visionEncoder.drop', { treeDataProvider: this, dragAndDropController: this });
  }

  getChildren(parent?: 'row'): 'row'[] {
    return parent === undefined ? ['row'] : [];
  }

  getTreeItem(): vscode.TreeItem {
    const item = new vscode.TreeItem(vscode.l10n.t('Drop a folder or a weights file'));
    item.iconPath = new vscode.ThemeIcon('cloud-download');
    item.tooltip = vscode.l10n.t('From the Explorer or a file manager. A click opens a folder.');
    item.command = { command: 'visionEncoder.openFolder', title: vscode.l10n.t('Open Folder…') };
    return item;
  }

  async handleDrop(_target: 'row' | undefined, data: vscode.DataTransfer): Promise<void> {
    await this.onDrop(await droppedUris(data));
  }

  dispose(): void {
    this.view.dispose();
  }
}
