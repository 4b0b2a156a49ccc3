import { t } from '@vscode/l10n';
import { quoted } from '../checkpoint/wording';
import { AccessError } from '../errors';
import type { Answer } from './http';
import { DEFAULT_REVISION, hubPage } from './location';

interface Asked {
  readonly repo: string | undefined;
  readonly endpoint: URL;
  readonly hasToken: boolean;
}

/** The Hub does not give something to this account. */
export class HubRefusal extends AccessError {
  /**
   * @param sentence what is refused, and what to do about it besides giving another token
   * @param page where a person sees the model, and accepts its licence
   * @param tokenHelps whether another token may change the answer
   */
  constructor(readonly sentence: string, readonly page: string, readonly tokenHelps: boolean, endpoint: URL, options: { detail?: string } = {}) {
    super(tokenHelps ? t`${sentence} Give a token (${endpoint.origin}/settings/tokens) in HF_TOKEN or with "hf auth login".` : sentence, options);
  }
}

/**
 * Why the Hub refuses, and what to do. It says so in the header X-Error-Code; see hf_raise_for_status in
 * https://github.com/huggingface/huggingface_hub/blob/main/src/huggingface_hub/utils/_http.py
 */
export function explainHubRefusal({ status, headers, url }: Answer, { repo, endpoint, hasToken }: Asked): HubRefusal {
  const code = headers.get('x-error-code') ?? '';
  const model = repo ?? endpoint.host;
  const page = repo === undefined ? endpoint.origin : hubPage({ repo, revision: DEFAULT_REVISION, path: '' }, endpoint);
  const detail = headers.get('x-error-message') ?? undefined;
  const refusal = (sentence: string, tokenHelps = false): HubRefusal => new HubRefusal(sentence, page, tokenHelps, endpoint, detail === undefined ? {} : { detail });

  if (code === 'GatedRepo') {
    return hasToken
      ? refusal(t`${model} is gated, and the token's account may not read it yet. Accept its licence at ${page}, wait until access is granted, and check that the token may read gated models.`)
      : refusal(t`${model} is gated. Accept its licence at ${page}.`, true);
  }
  if (code === 'DisabledRepo') return refusal(t`${model} was disabled by the Hub. See ${page}.`);
  if (code === 'RevisionNotFound') return refusal(t`${model} has no such revision. See ${page} for its branches and tags.`);
  if (code === 'EntryNotFound') return refusal(t`${model} has no file ${lastSegment(url)} in this revision. See ${page}.`);
  if (status === 401 && hasToken && code !== 'RepoNotFound') return refusal(t`${endpoint.host} refuses the token: it is wrong or has expired. Make a new one.`, true);
  if (status === 401 || status === 404 || code === 'RepoNotFound') {
    return hasToken
      ? refusal(t`${endpoint.host} has no model ${model} that the token may read. Check the name; if it is private, use a token of its owner.`)
      : refusal(t`${endpoint.host} has no public model ${model}. Check the name; a private one needs a token.`, true);
  }
  if (status === 403) return refusal(t`${url.host} refuses access to ${model}. Check at ${page} that your account may read it.`, true);
  return refusal(t`${url.host} answers ${status} for ${model}. Try again later.`);
}

/** The file that an address names, which a server may have encoded as it likes. */
function lastSegment(url: URL): string {
  const text = url.pathname.split('/').at(-1) ?? '';
  try {
    return quoted(decodeURIComponent(text));
  } catch {
    return quoted(text);
  }
}
