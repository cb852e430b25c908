/**
 * Lets a process outlive the terminal that it was started on.
 *
 * At exit Node restores the settings of the terminals on its standard descriptors, and aborts if
 * one has gone: a crash would replace the exit code. It skips descriptors that have become
 * something else. (It skips closed ones too, but native libraries that flush their own streams at
 * exit do not.)
 */
import { closeSync, openSync } from 'node:fs';
import { isatty } from 'node:tty';

/**
 * Call it at the start. Replaces gone terminals by /dev/null, as the last thing before the process
 * ends.
 */
export function outliveTerminals(): void {
  const terminals = [0, 1, 2].filter((fd) => isatty(fd));
  process.on('exit', () => {
    for (const fd of terminals) {
      if (isatty(fd)) continue;
      closeSync(fd);
      // Takes the lowest free number, which is the one just closed.
      openSync('/dev/null', 'r+');
    }
  });
}
