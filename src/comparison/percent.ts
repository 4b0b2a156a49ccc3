import { t } from '@vscode/l10n';

/** A fraction as per cent for people: `0.31 %`, `120 %`, `2.4e-5 %`. */
export function formatPercent(fraction: number): string {
  if (fraction === Infinity) return t('infinitely');
  if (Number.isNaN(fraction)) return t('not a number');
  const percent = fraction * 100;
  if (percent === 0) return '0 %';
  return `${percent < 0.001 || percent >= 1e6 ? percent.toExponential(1) : percent >= 100 ? Math.round(percent).toString() : Number(percent.toPrecision(2)).toString()} %`;
}
