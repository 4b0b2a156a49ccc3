import { styleText } from 'node:util';
import { Presets, SingleBar } from 'cli-progress';
import { printable } from '../checkpoint/wording';
import { formatBytes, formatDuration } from '../format';
import type { Progress } from '../progress';

type Style = Parameters<typeof styleText>[0];

/** Writes to the person's terminal: results on standard output, everything else on standard error. */
export class Terminal {
  constructor(
    private readonly out: NodeJS.WriteStream = process.stdout,
    private readonly err: NodeJS.WriteStream = process.stderr,
  ) {}

  /** A part of the result, one line or more; text from outside must have gone through `printable`. */
  print(line = ''): void {
    this.out.write(`${line}\n`);
  }

  /** A line beside the result: what is going on, a warning, an error. */
  note(line: string): void {
    this.err.write(`${line}\n`);
  }

  warn(message: string): void {
    this.note(`${this.style('yellow', 'warning:', this.err)} ${printable(message)}`);
  }

  fail(message: string): void {
    this.note(`${this.style('red', 'error:', this.err)} ${printable(message)}`);
  }

  /** Coloured where the stream is a terminal that wants colour (https://no-color.org). */
  style(style: Style, text: string, stream = this.out): string {
    return stream.isTTY && stream.hasColors() && !process.env.NO_COLOR ? styleText(style, text) : text;
  }

  /**
   * Shows the progress of a long call: a bar on a terminal, otherwise a line for every tenth.
   * Call `stop` before anything else is printed.
   * @param format an amount of what the call counts, in words; bytes unless told
   */
  progress(title: string, format: (amount: number) => string = formatBytes): { report: (progress: Progress) => void; stop: () => void } {
    return this.err.isTTY ? this.bar(title, format) : this.lines(title, format);
  }

  private bar(title: string, format: (amount: number) => string) {
    const bar = new SingleBar({
      stream: this.err,
      hideCursor: true,
      clearOnComplete: true,
      // The numbers beside it matter more than the bar.
      barsize: Math.max(8, Math.min(40, (this.err.columns || 80) - title.length - 50)),
      format: `${title} {bar} {percentage}%  {amount}  {rate}  {left}`,
    }, Presets.shades_classic);
    const started = Date.now();
    let running = false;
    return {
      report: ({ done, total }: Progress) => {
        const seconds = (Date.now() - started) / 1000;
        const rate = seconds > 0.2 ? done / seconds : 0;
        const payload = {
          amount: `${format(done)} of ${format(total)}`,
          rate: rate > 0 ? `${format(rate)}/s` : '',
          left: rate > 0 && done < total ? `${formatDuration((total - done) / rate)} left` : '',
        };
        if (!running) {
          bar.start(total, done, payload);
          running = true;
        }
        bar.update(done, payload);
      },
      stop: () => { if (running) bar.stop(); },
    };
  }

  private lines(title: string, format: (amount: number) => string) {
    let tenth = -1;
    return {
      report: ({ done, total }: Progress) => {
        const now = total === 0 ? 10 : Math.floor((done / total) * 10);
        if (now === tenth) return;
        tenth = now;
        this.note(`${title} ${now * 10}% (${format(done)} of ${format(total)})`);
      },
      stop: () => { /* every line is whole already */ },
    };
  }
}

/** A path or address to be copied into a shell. */
export function shellWord(text: string): string {
  return /^[\w./~+:@%-]+$/.test(text) ? text : `'${text.replaceAll('\'', '\'\\\'\'')}'`;
}
