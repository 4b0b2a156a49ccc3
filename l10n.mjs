// Keeps l10n/bundle.l10n.json, the English texts that a translation has to have, in step with the source: `npm run l10n`.
import { readdir, readFile, writeFile } from 'node:fs/promises';
import path from 'node:path';
import { pathToFileURL } from 'node:url';
import ts from 'typescript';

const root = import.meta.dirname;
const BASE = path.join(root, 'l10n/bundle.l10n.json');

/** How the source calls `t` of vscode.l10n or of @vscode/l10n, which look a text up in the same way. */
const FUNCTIONS = new Set(['t', 'l10n.t', 'vscode.l10n.t']);

/**
 * The texts that one file has translated. Keys are those that `t` looks up: the text, and behind it a slash and the comment that tells
 * apart texts that are the same in English only.
 * @throws Error when a text is not written out where `t` is called, so that nobody could find it
 */
export function textsOf(source, name) {
  const texts = new Map();
  const file = ts.createSourceFile(name, source, ts.ScriptTarget.Latest, true);
  const add = (node, text, comment) => {
    if (text === undefined) {
      const { line } = file.getLineAndCharacterOfPosition(node.getStart());
      throw new Error(`${name}:${line + 1}: the text must be written out where t is called, so that it can be translated.`);
    }
    texts.set(comment === undefined ? text : `${text}/${comment}`, comment === undefined ? text : { message: text, comment: [comment] });
  };
  const visit = node => {
    if (ts.isTaggedTemplateExpression(node) && FUNCTIONS.has(node.tag.getText())) add(node, templateText(node.template));
    if (ts.isCallExpression(node) && FUNCTIONS.has(node.expression.getText())) {
      const [first] = node.arguments;
      if (first !== undefined && ts.isObjectLiteralExpression(first)) add(node, literal(property(first, 'message')), literal(property(first, 'comment')));
      else add(node, literal(first));
    }
    ts.forEachChild(node, visit);
  };
  visit(file);
  return texts;
}

function literal(node) {
  return node !== undefined && ts.isStringLiteralLike(node) ? node.text : undefined;
}

function property(object, name) {
  return object.properties.find(each => ts.isPropertyAssignment(each) && each.name.getText() === name)?.initializer;
}

/** `a ${x} b` as `a {0} b`. */
function templateText(template) {
  if (ts.isNoSubstitutionTemplateLiteral(template)) return template.text;
  return template.head.text + template.templateSpans.map(({ literal }, index) => `{${index}}${literal.text}`).join('');
}

/** All texts of src and webview, sorted. */
export async function allTexts() {
  const texts = new Map();
  for (const folder of ['src', 'webview']) {
    const names = (await readdir(path.join(root, folder), { recursive: true })).filter(name => name.endsWith('.ts') && !name.endsWith('.d.ts'));
    for (const name of names.sort()) {
      const file = path.join(folder, name);
      for (const [key, text] of textsOf(await readFile(path.join(root, file), 'utf8'), file)) texts.set(key, text);
    }
  }
  return Object.fromEntries([...texts].sort(([a], [b]) => a < b ? -1 : 1));
}

if (import.meta.url === pathToFileURL(process.argv[1] ?? '').href) {
  const texts = await allTexts();
  await writeFile(BASE, `${JSON.stringify(texts, undefined, 2)}\n`);
  const missing = [];
  for (const name of await readdir(path.dirname(BASE))) {
    const [, language] = /^bundle\.l10n\.(.+)\.json$/.exec(name) ?? [];
    if (language === undefined) continue;
    const translated = JSON.parse(await readFile(path.join(path.dirname(BASE), name), 'utf8'));
    missing.push(...Object.keys(texts).filter(key => !(key in translated)).map(key => `${language} lacks: ${key}`), ...Object.keys(translated).filter(key => !(key in texts)).map(key => `${language} has one too many: ${key}`));
  }
  console.log([`${Object.keys(texts).length} texts`, ...missing].join('\n'));
}
