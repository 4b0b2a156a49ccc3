import { t } from '@vscode/l10n';
import { AccessError } from '../errors';

/** The network or the server failed again and again. What was fetched so far is sound; trying again later can succeed. */
export class ConnectionError extends AccessError {}

/** A failure that another attempt may mend. Never leaves this folder. */
export class TransientError extends Error {
  override readonly name = 'TransientError';
  /** Milliseconds that the server asks to wait. */
  readonly retryAfter: number | undefined;

  constructor(message: string, options: { readonly retryAfter?: number | undefined; readonly cause?: unknown } = {}) {
    super(message, { cause: options.cause });
    this.retryAfter = options.retryAfter;
  }
}

/** Codes of TLS failures that no further attempt mends (https://nodejs.org/api/tls.html#x509-certificate-error-codes). */
const CERTIFICATE = /CERT|SELF_SIGNED|UNABLE_TO_(?:GET|VERIFY)|ERR_TLS|ERR_SSL/;

/** What `fetch` threw, as a failure to retry or as a sentence; anything but a network error stays as it is. */
export function networkError(error: unknown, host: string): unknown {
  // fetch rejects with a TypeError whose cause is the socket's or the parser's error.
  if (!(error instanceof TypeError) || !(error.cause instanceof Error)) return error;
  const { cause } = error;
  const code = 'code' in cause && typeof cause.code === 'string' ? cause.code : undefined;
  if (code !== undefined && CERTIFICATE.test(code)) {
    return new AccessError(t`${host} has a certificate that is not trusted (${code}), so nothing was fetched from it. If your network inspects traffic, name its certificate in NODE_EXTRA_CA_CERTS.`, { cause: error });
  }
  return new TransientError(code === undefined ? cause.message : `${FAILURES[code] ?? cause.message} (${code})`, { cause: error });
}

const FAILURES: Readonly<Record<string, string>> = {
  ENOTFOUND: t('its name is not known; there may be no network'),
  EAI_AGAIN: t('its name could not be looked up; there may be no network'),
  ECONNREFUSED: t('it refused the connection'),
  ECONNRESET: t('the connection was broken off'),
  EPIPE: t('the connection was broken off'),
  ETIMEDOUT: t('it did not answer in time'),
  UND_ERR_CONNECT_TIMEOUT: t('it did not answer in time'),
  UND_ERR_SOCKET: t('the connection was broken off'),
  UND_ERR_HEADERS_TIMEOUT: t('it did not answer in time'),
  UND_ERR_BODY_TIMEOUT: t('it stopped sending'),
};
