// Installs exactly what the lockfile names, and only when that has changed since the last time.

import { statSync } from 'node:fs'
import path from 'node:path'
import { npm, root } from './run.mjs'

export function installDependencies() {
  // npm writes this one last, so an interrupted install counts as none.
  const installed = changedAt('node_modules/.package-lock.json')
  if (installed >= changedAt('package-lock.json')) return
  if (!npm('ci')) throw new Error('npm ci failed')
}

function changedAt(file) {
  return statSync(path.join(root, file), { throwIfNoEntry: false })?.mtimeMs ?? 0
}
