// Makes sure that the browser test finds a Chromium to start.

import { existsSync } from 'node:fs'
import path from 'node:path'
import { run } from './run.mjs'

const NAMES = ['chromium', 'chromium-browser', 'google-chrome']

const HOW_TO_INSTALL = `Chromium is missing, and the browser test needs it on the PATH (${NAMES.join(', ')}).
  Debian, Ubuntu:  sudo apt-get install chromium
  macOS:           brew install chromium`

export function ensureChromium() {
  if (onPath()) return
  if (process.getuid?.() !== 0) throw new Error(HOW_TO_INSTALL)
  const env = { DEBIAN_FRONTEND: 'noninteractive' }
  run('apt-get', ['update'], { env })
  run('apt-get', ['install', '-y', '--no-install-recommends', 'chromium'], { env })
  if (!onPath()) throw new Error(HOW_TO_INSTALL)
}

function onPath() {
  const folders = (process.env.PATH ?? '').split(path.delimiter).filter(Boolean)
  return folders.some((folder) => NAMES.some((name) => existsSync(path.join(folder, name))))
}
