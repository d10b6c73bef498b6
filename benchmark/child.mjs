// Processes of a measurement: what is measured is not to share its event loop and its memory with what measures.

import { fork } from 'node:child_process'
import { once } from 'node:events'

/** Runs a file of this folder, which calls `serve`. `ready` is what it said when it was ready. */
export async function startChild(file, args, options) {
  const child = fork(file, args.map(String), options)
  const exited = once(child, 'exit')
  const answer = async () => {
    const [value] = await Promise.race([once(child, 'message'), exited])
    if (child.exitCode === null && child.signalCode === null) return value
    throw new Error(`${file} ended before it answered`)
  }
  const ready = await answer()
  return {
    ready,
    ask: (question) => {
      child.send(question)
      return answer()
    },
    async close() {
      if (!child.connected) return
      child.disconnect()
      await exited
    }
  }
}

/** The arguments, in the file that was started as a child; nothing in one that is only imported. */
export function argumentsOf(file) {
  return process.argv[1] === file && process.send ? process.argv.slice(2) : undefined
}

/** In the child: it is ready, and answers from now on. */
export function serve(ready, answers) {
  process.on('message', async (question) => process.send(await answers[question]()))
  process.once('disconnect', () => process.exit())
  process.send(ready)
}
