import { config } from 'zod';

// zod would try `new Function` to write parsers while it runs: neither wanted here, nor possible under the panel's policy.
config({ jitless: true });
