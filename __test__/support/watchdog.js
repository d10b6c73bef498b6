// Nothing that a test starts may outlive it, even when jest is killed. A watchdog is a shell of its own session that
// sleeps until the pipe from this process closes, which is when this process ends, and then cleans up.
const { spawn } = require('node:child_process')

/** Kills `pid` (a process, or with `-pid` its whole group) and removes `directory`. `kill()` the watchdog to call it off. */
function watchOver(pid, directory) {
  const script = 'read _; kill -9 "$1"; rm -rf "$2"'
  const watchdog = spawn('sh', ['-c', script, 'sh', String(pid), directory], {
    stdio: ['pipe', 'ignore', 'ignore'],
    detached: true
  })
  watchdog.stdin.on('error', () => {})
  watchdog.stdin.unref()
  watchdog.unref()
  return { kill: () => watchdog.kill('SIGKILL') }
}

module.exports = { watchOver }
