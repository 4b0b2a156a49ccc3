// Drives VS Code's workbench as a person does: by what is on the screen.
import { mkdir } from 'node:fs/promises';
import path from 'node:path';

const TREE_ROW = '.tree-explorer-viewlet-tree-view .monaco-list-row[role="treeitem"]';

/** A CSS string literal. */
const quoted = text => JSON.stringify(text);

export class Workbench {
  /** @param {import('playwright-core').Page} page */
  constructor(page) {
    this.page = page;
    this.quickInput = page.locator('.quick-input-widget');
    this.dialog = page.locator('.monaco-dialog-box');
    this.statusBar = page.locator('.part.statusbar');
  }

  /** Loads the workbench and waits until it can be used. */
  async open(url) {
    await this.page.goto(url);
    await this.statusBar.waitFor();
    await this.page.locator('.activitybar .action-item').first().waitFor();
  }

  /** The activity bar's entry of the view container called `title`. */
  viewContainer(title) {
    return this.page.locator('.part.activitybar li.action-item', { has: this.page.locator(`a.action-label[aria-label^=${quoted(title)}]`) });
  }

  /** Shows a view container; its icon is not clicked when it is visible already, which would hide it. */
  async openViewContainer(title) {
    const tab = this.viewContainer(title);
    await tab.waitFor();
    if (await tab.getAttribute('aria-selected') !== 'true') await tab.click();
    await this.page.locator('.part.sidebar .composite.title h2', { hasText: new RegExp(title, 'i') }).waitFor();
  }

  /** The pane of one view inside the visible view container. */
  view(title) {
    return this.page.locator('.part.sidebar .pane', { has: this.page.locator(`.pane-header[aria-label^=${quoted(title)}]`) });
  }

  /** Tree rows in view order, of the whole side bar or of the view called `title`. Lists are virtual: only rows on the screen exist. */
  rows(title) {
    return (title === undefined ? this.page.locator('.part.sidebar') : this.view(title)).locator(TREE_ROW);
  }

  /** The tree row whose name is `label`: its own words, without the description beside it. */
  row(label, title) {
    return this.rows(title).filter({ has: this.page.locator('.label-name', { hasText: new RegExp(`^${escapeRegExp(label)}$`) }) });
  }

  /** What a screen reader says for each row on the screen. */
  async rowLabels(title) {
    return this.rows(title).evaluateAll(rows => rows.map(row => row.getAttribute('aria-label')));
  }

  /** Expands or collapses a row, unless it is so already. */
  async setExpanded(row, expanded = true) {
    if (await row.getAttribute('aria-expanded') === String(expanded)) return;
    await row.locator('.monaco-tl-twistie').click();
    await row.and(this.page.locator(`[aria-expanded="${expanded}"]`)).waitFor();
  }

  /** Clicks one of a row's inline actions, which show while the mouse is over it. */
  async inlineAction(row, title) {
    const action = row.locator(`.actions a.action-label[aria-label^=${quoted(title)}]`);
    await row.hover();
    // A tree that is drawn anew under the mouse forgets that the mouse is there.
    for (let attempt = 0; attempt < 5 && !await action.waitFor({ timeout: 1000 }).then(() => true, () => false); attempt++) {
      await this.page.mouse.move(0, 0);
      await row.hover();
    }
    await action.click();
  }

  /** Clicks an action in a view's title bar. */
  async viewAction(viewTitle, title) {
    const header = this.view(viewTitle).locator('.pane-header');
    await header.hover();
    await header.locator(`a.action-label[aria-label^=${quoted(title)}]`).click();
  }

  /** Opens the context menu of `target` and picks the entry called `title`. */
  async contextMenu(target, title) {
    await target.click({ button: 'right' });
    const item = this.menuItem(title);
    for (let attempt = 0; attempt < 5; attempt++) {
      await item.click();
      if (await item.waitFor({ state: 'hidden', timeout: 1000 }).then(() => true, () => false)) return; // a menu ignores clicks in its first moments
    }
    throw new Error(`The menu entry ${title} did not take a click.`);
  }

  menuItem(title) {
    return this.page.locator('.context-view .monaco-menu .action-item', { has: this.page.locator('.action-label', { hasText: new RegExp(`^${escapeRegExp(title)}$`) }) });
  }

  /**
   * Runs a command by its id through the command palette, where `title` finds it. A quick input that is just closing takes the
   * palette down with it, so the palette is asked for again until the command has been picked.
   */
  async command(title, id) {
    for (let attempt = 1; ; attempt++) {
      await this.page.keyboard.press('F1');
      try {
        await this.quickInputBox().fill(`>${title}`, { timeout: 4000 });
        await this.page.locator(`.quick-input-list-entry[data-quick-input-id=${quoted(id)}]`).click({ timeout: 8000 });
        return;
      } catch (error) {
        if (attempt === 4) throw error;
        await this.page.keyboard.press('Escape');
      }
    }
  }

  quickInputBox() {
    return this.quickInput.locator('.quick-input-box input');
  }

  /** A choice of the open quick pick, by the start of its label. */
  quickPick(label) {
    return this.quickInput.locator('.quick-input-list .monaco-list-row', { has: this.page.locator('.label-name', { hasText: label }) });
  }

  /** Types into the open input box (or quick pick) and accepts. */
  async fillQuickInput(text) {
    await this.quickInputBox().waitFor();
    await this.quickInputBox().fill(text);
    await this.quickInputBox().press('Enter');
  }

  /**
   * VS Code's simple file dialog, for opening and saving alike: types the path and accepts it.
   * The dialog ignores Enter while it lists a folder, so Enter is pressed until it has left.
   */
  async fileDialog(file) {
    const okButton = this.quickInput.locator('.quick-input-action a.monaco-button').first();
    await okButton.waitFor();
    await this.page.waitForFunction(() => document.querySelector('.quick-input-widget .quick-input-box input')?.value.startsWith('/')); // it fills in its folder a moment after it shows
    // It may write its own suggestion over what is typed in its first moments.
    for (let kept = 0; kept < 3;) {
      if (await this.quickInputBox().inputValue() === file) kept++;
      else {
        kept = 0;
        await this.quickInputBox().fill(file);
      }
      await this.page.waitForTimeout(100);
    }
    for (let attempt = 0; attempt < 10; attempt++) {
      await this.quickInputBox().press('Enter');
      const left = await okButton.waitFor({ state: 'hidden', timeout: 1000 }).then(() => true, () => false);
      if (left || !samePath(await this.quickInputBox().inputValue(), file)) return;
    }
    throw new Error(`The file dialog did not take ${file}.`);
  }

  /** A modal dialog's button. */
  async dialogButton(title) {
    await this.dialog.locator('.monaco-button', { hasText: title }).click();
  }

  notification(text) {
    return this.page.locator('.notifications-toasts .notification-list-item', { hasText: text });
  }

  /** Waits for a notification: VS Code shows no toast for the fourth within 0.8 seconds, which is then in its list alone. */
  async waitForNotification(text) {
    if (await this.notification(text).first().waitFor({ timeout: 5000 }).then(() => true, () => false)) return;
    await this.command('Notifications: Show Notifications', 'notifications.showList');
    await this.page.locator('.notifications-center .notification-list-item', { hasText: text }).first().waitFor();
  }

  async notificationButton(text, title) {
    const toast = this.notification(text);
    await toast.hover();
    await toast.locator('a.monaco-button', { hasText: title }).click();
  }

  async clearNotifications() {
    await this.command('Notifications: Clear All Notifications', 'notifications.clearAll');
  }

  /** Shows the Problems panel; returns its rows: a file's row, then that of each of its problems. */
  async problems() {
    const panel = this.page.locator('.markers-panel');
    if (!await panel.isVisible()) await this.command('View: Toggle Problems', 'workbench.actions.view.problems');
    await panel.waitFor();
    return panel.locator('.monaco-list-row');
  }

  /**
   * Lists the quick fixes at the first line of the visible editor, `text` among them. Under load the keys come before
   * the editor or its problems are there, so they are pressed until the list has it.
   */
  async showQuickFix(text) {
    for (let attempt = 1; ; attempt++) {
      await this.page.locator('.editor-instance .view-line').first().click();
      await this.page.keyboard.press('Control+.');
      if (await this.quickFix(text).waitFor({ timeout: 1000 }).then(() => true, () => false)) return;
      if (attempt === 10) throw new Error(`The editor offers no quick fix ${text}.`);
      await this.page.keyboard.press('Escape');
    }
  }

  /** Takes the quick fix that `showQuickFix` has listed first; a list ignores keys in its first moments. */
  async takeQuickFix(text) {
    for (let attempt = 0; attempt < 5; attempt++) {
      await this.page.keyboard.press('Enter');
      if (await this.quickFix(text).waitFor({ state: 'hidden', timeout: 2000 }).then(() => true, () => false)) return;
    }
    throw new Error(`The quick fix ${text} was not taken.`);
  }

  quickFix(text) {
    return this.page.locator('.action-widget .monaco-list-row', { hasText: text });
  }

  /** The visible editor's tab. */
  activeTab() {
    return this.page.locator('.tabs-container .tab.active');
  }

  /** The document inside the visible webview. */
  webview() {
    return this.page.frameLocator('iframe.webview.ready').frameLocator('iframe#active-frame');
  }

  /** Changes to another colour theme than the present one, by the label that the theme picker shows, for example "Dark High Contrast". */
  async theme(label) {
    const before = await this.page.evaluate(() => document.querySelector('.monaco-workbench').className);
    await this.command('Preferences: Color Theme', 'workbench.action.selectTheme');
    await this.quickInputBox().fill(label);
    await this.quickPick(label).and(this.page.locator('.focused')).waitFor();
    await this.quickInputBox().press('Enter');
    await this.quickInput.waitFor({ state: 'hidden' });
    await this.page.waitForFunction(previous => document.querySelector('.monaco-workbench').className !== previous, before);
  }

  /** Saves what is on the screen. */
  async screenshot(file) {
    await mkdir(path.dirname(file), { recursive: true });
    await this.page.screenshot({ path: file });
  }
}

function escapeRegExp(text) {
  return text.replace(/[.*+?^${}()|[\]\\]/g, '\\$&');
}

/** The dialog adds a slash to the path of a folder. */
function samePath(shown, path) {
  return shown.replace(/\/$/, '') === path.replace(/\/$/, '');
}
