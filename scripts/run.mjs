// Runs one command at the repository's root, its output shown as it comes, and tells whether it went well.

import { spawnSync } from 'node:child_process'
import { fileURLToPath } from 'node:url'

export const root = fileURLToPath(new URL('..', import.meta.url))

export function run(command, args, { env, timeout } = {}) {
  // No standard input: a tool that would ask a question must not hang a machine where nobody answers.
  const { status, error } = spawnSync(command, args, {
    cwd: root,
    env: { ...process.env, ...env },
    stdio: ['ignore', 'inherit', 'inherit'],
    timeout,
    killSignal: 'SIGKILL'
  })
  if (error) console.error(`${command}: ${error.message}`)
  return error?.code === 'ETIMEDOUT' ? 'timeout' : status === 0
}

export function npm(...args) {
  // The npm that called us, where there is one: on Windows `npm` on the PATH cannot be started without a shell.
  const cli = process.env.npm_execpath
  return cli ? run(process.execPath, [cli, ...args]) : run('npm', args)
}
