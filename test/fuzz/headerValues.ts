/** Headers that the client reads, with values of every kind. None asks to wait for a time that would be waited. */
export const VALUES_OF_HEADERS: Readonly<Record<string, readonly string[]>> = {
  'content-range': ['bytes 0-1999/2000', 'bytes 0-1999/*', 'bytes */0', 'bytes */2000', 'bytes 1-1999/2000', 'bytes 0-0/1', 'bytes 0-7/2000', 'bytes 0-99999999999999999999/99999999999999999999', 'bytes 0-1999/9007199254740993', 'bytes 5-1/2000', 'bytes -1-2/3', 'BYTES 0-1/2', 'items 0-1/2', 'x'],
  'content-length': ['0', '1', '2000', '-1', '1e3', 'NaN', '18446744073709551616', '4194305', '2000, 2000', ' 7 '],
  'content-encoding': ['gzip', 'identity', 'br', 'x'],
  etag: ['"v1"', '"v2"', 'W/"v1"', 'v1', '"', '""'],
  'last-modified': ['Thu, 01 Jan 1970 00:00:00 GMT', 'never', '0'],
  'x-linked-etag': ['"abc"', 'W/"abc"', '"'],
  location: ['https://other.example/x', 'http://other.example/x', '/y', '../z', 'file:///etc/passwd', 'javascript:alert(1)', 'https://', '//host', 'data:text/plain,x', 'https://user:password@host.example/'],
  'retry-after': ['0', '999999', '-1', 'Thu, 01 Jan 1970 00:00:00 GMT', 'soon', '99999999999999999999999'],
  link: ['<https://hub.example/api/models/a/b/tree/x?cursor=1>; rel="next"', '<https://evil.example/>; rel="next"', '</api/models>; rel="next"', '<>; rel="next"', '<file:///etc/passwd>; rel="next"', '<x'.repeat(1000), ' '.repeat(5000)],
  'x-error-code': ['GatedRepo', 'RepoNotFound', 'RevisionNotFound', 'EntryNotFound', '<img src=x onerror=alert(1)>'],
  'x-error-message': ['<b>no</b>', 'x'.repeat(3000)],
};
