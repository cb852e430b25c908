/**
 * Lets a process outlive the terminal that it was started on.
 *
 * As it exits, Node puts back the settings of the terminals on its standard descriptors, and aborts
 * where one has gone meanwhile: the exit code would be lost to a crash. It passes over descriptors
 * that have become something else. (Closed ones it passes over too, but native libraries that flush
 * their own streams at exit do not.)
 */
import { closeSync, openSync } from 'node:fs';
import { isatty } from 'node:tty';

/**
 * To be called at the start. Puts /dev/null in the place of what has gone, as the last thing of
 * all.
 */
export function outliveTerminals(): void {
  const terminals = [0, 1, 2].filter((fd) => isatty(fd));
  process.on('exit', () => {
    for (const fd of terminals) {
      if (isatty(fd)) continue;
      closeSync(fd);
      // The lowest number that is free: the one that has just become so.
      openSync('/dev/null', 'r+');
    }
  });
}
