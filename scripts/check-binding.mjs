// The build writes binding.js and binding.d.ts. What is committed must be what the Rust source gives now.

import { existsSync } from 'node:fs'
import path from 'node:path'
import { root, run } from './run.mjs'

const GENERATED = ['binding.js', 'binding.d.ts']

if (!existsSync(path.join(root, '.git'))) {
  console.log('not a git checkout: there is no committed version to compare with')
} else if (!run('git', ['ls-files', '--error-unmatch', ...GENERATED])) {
  fail('they are generated, but not in git: add them')
} else if (!run('git', ['--no-pager', 'diff', '--exit-code', '--', ...GENERATED])) {
  fail('they are stale: what is above is what the build has just made of the Rust source, so commit it')
}

function fail(reason) {
  console.error(`${GENERATED.join(' and ')}: ${reason}`)
  process.exitCode = 1
}
