// What a person has to bring along: Node and Rust. Nothing here can install them.

import { spawnSync } from 'node:child_process'

const NODE_MAJOR = 20

export function checkToolchain() {
  if (Number.parseInt(process.versions.node, 10) < NODE_MAJOR) {
    throw new Error(`Node ${process.versions.node} is too old: version ${NODE_MAJOR} or later is needed`)
  }
  if (spawnSync('cargo', ['--version']).status !== 0) {
    throw new Error('Rust is missing: install it as https://rustup.rs shows, open a new terminal, and try again')
  }
}
