/** How a program for Node or the extension host is bundled. */
export const node = {
  bundle: true,
  platform: 'node',
  format: 'cjs',
  target: 'node20',
  mainFields: ['module', 'main'], // the `main` of jsonc-parser is UMD, whose inner requires esbuild cannot see
  inject: ['src/zodSettings.ts'],
  external: ['vscode', 'onnxruntime-node', 'sharp'], // the last two load native libraries from their own folders
};

/** How the command line is: as a program that a shell can start. */
export const commandLine = { ...node, banner: { js: '#!/usr/bin/env node' } };

/** The thread that copies tensors, which lies beside every program that extracts. */
export const copyThread = { entry: 'src/extraction/thread/entry.ts', name: 'copyThread.js' };
