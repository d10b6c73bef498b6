// Makes sure that the tests find a `redis-server` to start. They start their own, on ports of their own.

import { existsSync } from 'node:fs'
import path from 'node:path'
import { run } from './run.mjs'

const HOW_TO_INSTALL = `redis-server is missing, and the tests need it on the PATH.
  Debian, Ubuntu:  sudo apt-get install redis-server
  macOS:           brew install redis
  Windows:         run the tests in WSL, on Debian or Ubuntu`

export function ensureRedisServer() {
  if (onPath('redis-server')) return
  if (process.getuid?.() !== 0 || !onPath('apt-get')) throw new Error(HOW_TO_INSTALL)

  const env = { DEBIAN_FRONTEND: 'noninteractive' }
  run('apt-get', ['update'], { env })
  run('apt-get', ['install', '-y', '--no-install-recommends', 'redis-server'], { env })
  if (!onPath('redis-server')) throw new Error(HOW_TO_INSTALL)

  // The package may start a service and enable it at boot. Nobody asked for one, and an example or a test that looks
  // for "no Redis on 6379" would find it.
  if (onPath('service')) run('service', ['redis-server', 'stop'])
  if (onPath('update-rc.d')) run('update-rc.d', ['redis-server', 'disable'])
}

function onPath(program) {
  const folders = (process.env.PATH ?? '').split(path.delimiter)
  return folders.some((folder) => folder && existsSync(path.join(folder, program)))
}
