// A real TCP proxy in front of a server, for the faults that a network has and a server has not: delay, held replies,
// cuts, refused connections, one direction lost, a peer that vanished without a word.
const { once } = require('node:events')
const net = require('node:net')
const { setTimeout: pause } = require('node:timers/promises')

const HOST = '127.0.0.1'

async function startProxy(targetPort) {
  const proxy = new FaultProxy(targetPort)
  await proxy.accept()
  return proxy
}

class FaultProxy {
  #targetPort
  #server
  #links = new Set()
  #delayMs = 0
  #swallowed
  #holdAll = false
  #holdOnce
  #splitOnce

  constructor(targetPort) {
    this.#targetPort = targetPort
    this.host = HOST
    this.port = 0
  }

  /** How many clients are connected. */
  get connections() {
    return this.#links.size
  }

  /** From now on every chunk takes `ms` longer, in each direction, and stays in order. */
  delay(ms) {
    this.#delayMs = ms
  }

  /** Holds every reply until `release()`. Commands still reach the server. */
  hold() {
    this.#holdAll = true
  }

  /**
   * Holds the next reply chunk (the next one that `matches`), and what follows it on its connection, until `release()`.
   * Resolves with the chunk as soon as it is held: by then the server has executed the command.
   */
  holdNext(matches = () => true) {
    return new Promise((resolve) => {
      this.#holdOnce = { matches, resolve }
    })
  }

  /**
   * Cuts the next chunk of commands that `matches` before its last command, or `atHalf` of it. The rest, and what follows
   * it on its connection, is held until `release()`. Resolves when the others are on their way to the server.
   */
  splitNext(matches, { atHalf = false } = {}) {
    return new Promise((resolve) => {
      this.#splitOnce = { matches, resolve, atHalf }
    })
  }

  /** All replies that are held, as text. */
  get held() {
    return [...this.#links].map((link) => link.held).join('')
  }

  release() {
    this.#holdAll = false
    this.#holdOnce = undefined
    this.#splitOnce = undefined
    for (const link of this.#links) link.release()
  }

  /** Resets every connection, on both sides. New ones are accepted. */
  cut() {
    for (const link of this.#links) link.reset()
  }

  /** Nobody listens any more: new connections are refused. The present ones stay. */
  refuse() {
    this.#server?.close()
    this.#server = undefined
  }

  async accept() {
    if (this.#server) return
    this.#server = net.createServer((client) => this.#connect(client))
    this.#server.listen(this.port, HOST)
    await once(this.#server, 'listening')
    this.port = this.#server.address().port
  }

  /** Loses all bytes `'toServer'` or `'toClient'`; `false` ends it (what was lost stays lost). */
  swallow(direction) {
    this.#swallowed = direction
  }

  /** The server's side of every present connection vanishes; the client's side is open, and silent for ever. */
  halfOpen() {
    for (const link of this.#links) link.loseServer()
  }

  async stop() {
    this.refuse()
    this.release()
    this.cut()
  }

  #connect(client) {
    const server = net.connect(this.#targetPort, HOST)
    const link = new Link(client, server, {
      delayMs: () => this.#delayMs,
      swallows: (direction) => this.#swallowed === direction,
      holds: (chunk) => this.#holds(chunk),
      splits: (chunk) => this.#splits(chunk)
    })
    this.#links.add(link)
    client.once('close', () => this.#links.delete(link))
  }

  #holds(chunk) {
    if (this.#holdAll) return true
    if (!this.#holdOnce?.matches(chunk)) return false
    this.#holdOnce.resolve(chunk)
    this.#holdOnce = undefined
    return true
  }

  /** How much of a chunk of commands may go. */
  #splits(chunk) {
    if (!this.#splitOnce?.matches(chunk)) return chunk.length
    const { resolve, atHalf } = this.#splitOnce
    this.#splitOnce = undefined
    resolve()
    return (atHalf ? chunk.indexOf('\r\n*', chunk.length / 2) : chunk.lastIndexOf('\r\n*')) + 2
  }
}

/** One client's connection and its twin to the server. Each direction is a queue, so that order is kept. */
class Link {
  #client
  #server
  #faults
  #replies = new Gate()
  #commands = new Gate()

  constructor(client, server, faults) {
    this.#client = client
    this.#server = server
    this.#faults = faults
    for (const socket of [client, server]) socket.setNoDelay(true).on('error', () => {})
    this.#pump(
      client,
      'toServer',
      (chunk) => this.#command(chunk),
      () => this.#commands.pass(undefined, () => this.#server.end())
    )
    const hangUp = () => this.#replies.pass(undefined, () => this.#client.end())
    this.#pump(server, 'toClient', (chunk) => this.#reply(chunk), hangUp)
  }

  get held() {
    return this.#replies.held
  }

  /** What was held goes out in one piece, so that it arrives in one. */
  release() {
    for (const [gate, socket] of [
      [this.#replies, this.#client],
      [this.#commands, this.#server]
    ]) {
      socket.cork()
      gate.open()
      socket.uncork()
    }
  }

  reset() {
    for (const socket of [this.#client, this.#server]) {
      // One that is being hung up cannot be reset any more: Node 20 would never close it, and the process never end.
      if (socket.writableEnded) socket.destroy()
      else socket.resetAndDestroy()
    }
  }

  loseServer() {
    const lost = this.#server
    lost.removeAllListeners('data').removeAllListeners('close')
    lost.destroy()
  }

  /** What one side sends, and at last its hanging up, in order. */
  #pump(from, direction, deliver, hangUp) {
    let last = Promise.resolve()
    const enqueue = (step) => {
      const ms = this.#faults.delayMs()
      if (ms === 0) {
        last = last.then(step)
        return
      }
      const due = pause(ms)
      last = last.then(() => due).then(step)
    }
    from.on('data', (chunk) => {
      if (!this.#faults.swallows(direction)) enqueue(() => deliver(chunk))
    })
    from.once('close', () => enqueue(hangUp))
  }

  #command(chunk) {
    const send = (part) => this.#commands.pass(part, () => this.#server.write(part))
    const end = this.#faults.splits(chunk)
    send(chunk.subarray(0, end))
    if (end === chunk.length) return
    this.#commands.close()
    send(chunk.subarray(end))
  }

  #reply(chunk) {
    if (!this.#replies.isClosed && this.#faults.holds(chunk)) this.#replies.close()
    this.#replies.pass(chunk, () => this.#client.write(chunk))
  }
}

/** Lets pass, in order, or holds until it is opened. */
class Gate {
  isClosed = false
  #waiting = []

  /** The text of what is held. */
  get held() {
    return this.#waiting.map(({ chunk }) => chunk ?? '').join('')
  }

  pass(chunk, deliver) {
    if (this.isClosed) this.#waiting.push({ chunk, deliver })
    else deliver()
  }

  close() {
    this.isClosed = true
  }

  open() {
    this.isClosed = false
    for (const { deliver } of this.#waiting.splice(0)) deliver()
  }
}

module.exports = { startProxy }
