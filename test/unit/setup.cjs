// What a bundle's `inject` does in the product: zod is told to make no code before anything uses it.
require('../../src/zodSettings.ts');
