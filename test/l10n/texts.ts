import { readdirSync, readFileSync } from 'node:fs';
import { join } from 'node:path';
import ts from 'typescript';

const root = join(import.meta.dirname, '../..');

/** English texts as l10n/bundle.l10n.json has them, by the keys that `t` looks up: the text, and behind it a slash and its comment where it has one. */
export type Texts = Readonly<Record<string, string | { readonly message: string; readonly comment: readonly string[] }>>;

/** How the source calls `t` of vscode.l10n or of @vscode/l10n, which look a text up in the same way. */
const FUNCTIONS: ReadonlySet<string> = new Set(['t', 'l10n.t', 'vscode.l10n.t']);

/** All texts of src and webview, sorted. */
export function allTexts(): Texts {
  const texts = ['src', 'webview'].flatMap(folder => readdirSync(join(root, folder), { recursive: true, encoding: 'utf8' })
    .filter(name => name.endsWith('.ts') && !name.endsWith('.d.ts'))
    .flatMap(name => Object.entries(textsOf(readFileSync(join(root, folder, name), 'utf8'), join(folder, name)))));
  return Object.fromEntries(texts.sort(([a], [b]) => a < b ? -1 : 1));
}

/**
 * The texts that one file has translated.
 * @throws Error when a text is not written out where `t` is called, so that nobody could find it
 */
export function textsOf(source: string, name: string): Texts {
  const texts: Record<string, Texts[string]> = {};
  const file = ts.createSourceFile(name, source, ts.ScriptTarget.Latest, true);
  const add = (node: ts.Node, text: string | undefined, comment?: string): void => {
    if (text === undefined) throw new Error(`${name}:${file.getLineAndCharacterOfPosition(node.getStart()).line + 1}: the text must be written out where t is called, so that it can be translated.`);
    if (comment === undefined) texts[text] = text;
    else texts[`${text}/${comment}`] = { message: text, comment: [comment] };
  };
  const visit = (node: ts.Node): void => {
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

function literal(node: ts.Node | undefined): string | undefined {
  return node !== undefined && ts.isStringLiteralLike(node) ? node.text : undefined;
}

function property(object: ts.ObjectLiteralExpression, name: string): ts.Expression | undefined {
  return object.properties.filter(ts.isPropertyAssignment).find(each => each.name.getText() === name)?.initializer;
}

/** `a ${x} b` as `a {0} b`. */
function templateText(template: ts.TemplateLiteral): string {
  if (ts.isNoSubstitutionTemplateLiteral(template)) return template.text;
  return template.head.text + template.templateSpans.map(({ literal: { text } }, index) => `{${index}}${text}`).join('');
}
