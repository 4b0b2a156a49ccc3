import * as vscode from 'vscode';
import { isAbort } from '../errors';
import { hostFetch } from '../remote/hostFetch';
import { Hub } from '../remote/hub';
import { HubRefusal } from '../remote/hubErrors';
import { hubEndpoint, type HubOptions } from '../remote/hubOptions';
import { unlinked } from '../views/markdown';

/** The network as the editor has it, and the Hub's token, which is kept in the editor's secret storage alone. */
export class HubAccess {
  constructor(private readonly secrets: vscode.SecretStorage, private readonly log: vscode.LogOutputChannel) {}

  /** For everything that reads from the Hub or another server. The environment's and the Hub client's own token serve when none is stored. */
  async options(): Promise<HubOptions> {
    const token = await this.secrets.get(this.key());
    return {
      fetch: hostFetch,
      onNotice: message => {
        this.log.info(message);
        vscode.window.setStatusBarMessage(`$(cloud-download) ${message.replaceAll('$(', '$ (')}`, 8000);
      },
      ...(token === undefined ? {} : { token }),
    };
  }

  /** Asks for a token, has the Hub say whose it is, and keeps it. @returns whether there is one now */
  async setToken(): Promise<boolean> {
    const { origin, host } = hubEndpoint();
    const token = (await vscode.window.showInputBox({
      title: vscode.l10n.t('Hugging Face Token'), password: true, ignoreFocusOut: true, placeHolder: 'hf_…',
      prompt: vscode.l10n.t('A token that may read, from {0}/settings/tokens. It is kept in the editor\'s secret storage and shown to {1} only.', origin, host),
      validateInput: text => (/^\S*$/.test(text.trim()) ? undefined : vscode.l10n.t('A token has no spaces.')),
    }))?.trim();
    if (token === undefined || token === '') return false;
    const hub = await Hub.connect({ ...await this.options(), token });
    const account = await this.accountOf(hub, host).catch((error: unknown) => {
      if (error instanceof HubRefusal) return error;
      throw error;
    });
    // A token that the Hub does not know is not kept; another can be given.
    if (account instanceof HubRefusal) return this.explain(account);
    await this.secrets.store(this.key(), token);
    void vscode.window.showInformationMessage(unlinked(vscode.l10n.t('The token of {0} is used for {1} from now on.', account, host)));
    return true;
  }

  private async accountOf(hub: Hub, host: string): Promise<string> {
    return vscode.window.withProgress({ location: vscode.ProgressLocation.Notification, title: vscode.l10n.t('Asking {0} about the token', host), cancellable: true }, async (_, cancel) => {
      const controller = new AbortController();
      cancel.onCancellationRequested(() => { controller.abort(); });
      return hub.account(controller.signal);
    });
  }

  async forgetToken(): Promise<void> {
    const key = this.key();
    const had = await this.secrets.get(key) !== undefined;
    await this.secrets.delete(key);
    void vscode.window.showInformationMessage(had
      ? vscode.l10n.t('The Hugging Face token was forgotten.')
      : vscode.l10n.t('No Hugging Face token is stored. A token from HF_TOKEN or "hf auth login" is not kept by this extension.'));
  }

  /** Tells why the Hub refuses and what to do, with the ways there as buttons. @returns whether another token was given, so that trying again makes sense */
  async explain(refusal: HubRefusal): Promise<boolean> {
    this.log.error(refusal.sentence);
    if (refusal.detail !== undefined) this.log.error(refusal.detail);
    const [setToken, openPage] = [vscode.l10n.t('Set Token…'), vscode.l10n.t('Open Model Page')];
    const choice = await vscode.window.showErrorMessage(unlinked(refusal.sentence), ...(refusal.tokenHelps ? [setToken] : []), openPage);
    if (choice === openPage) await vscode.env.openExternal(vscode.Uri.parse(refusal.page, true));
    return choice === setToken && this.setToken();
  }

  /** `task`, again with another token as long as the Hub refuses and the person gives one; undefined when the person gave up. */
  async retrying<T>(task: () => Promise<T>): Promise<T | undefined> {
    for (;;) {
      try {
        return await task();
      } catch (error) {
        if (isAbort(error)) return undefined;
        if (!(error instanceof HubRefusal)) throw error;
        if (!await this.explain(error)) return undefined;
      }
    }
  }

  /** A token is for one Hub: HF_ENDPOINT may name another next time. */
  private key(): string {
    return `hub-token ${hubEndpoint().origin}`;
  }
}
