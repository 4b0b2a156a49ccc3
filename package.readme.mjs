// The README of the packages: what VS Code shows on the extension's page.
const LEFT_OUT = /<!-- repository only -->[\s\S]*?<!-- \/repository only -->\n*/g;
const PICTURE = /^ *!\[[^\]]*\]\((?!https:)[^)]*\)\n+/gm;
const LINK = /\[([^\]]+)\]\((?!https:|mailto:)[^)]*\)/g;

/**
 * VS Code's page shows pictures from https addresses alone (its sanitiser lets neither the package's own files nor data:
 * through) and follows no link into a package. So the repository's README goes without its pictures and without what is done
 * in a clone, and its local links become their words. The pictures are in the walkthrough, which the packages hold.
 * @param {string} readme the repository's
 */
export function packageReadme(readme) {
  return readme.replace(LEFT_OUT, '').replace(PICTURE, '').replace(LINK, '$1');
}
