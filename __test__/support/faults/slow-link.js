// A link to a server that carries only so many bytes a second towards it, and can be cut and mended.
const { once } = require('node:events')
const net = require('node:net')

const HOST = '127.0.0.1'

async function startSlowLink(targetPort, bytesPerSecond) {
  const clients = new Set()
  let up = true
  const link = net.createServer((client) => {
    if (!up) {
      client.destroy()
      return
    }
    const server = net.connect(targetPort, HOST)
    clients.add(client)
    for (const [one, other] of [
      [client, server],
      [server, client]
    ]) {
      one.on('error', () => {})
      one.on('close', () => other.destroy())
    }
    server.pipe(client)
    client.on('data', (chunk) => {
      client.pause()
      server.write(chunk)
      setTimeout(() => client.resume(), (chunk.length / bytesPerSecond) * 1000)
    })
  })
  link.listen(0, HOST)
  await once(link, 'listening')
  const cut = () => {
    up = false
    for (const client of clients) client.destroy()
    clients.clear()
  }
  return {
    port: link.address().port,
    cut,
    mend() {
      up = true
    },
    stop() {
      cut()
      link.close()
    }
  }
}

module.exports = { startSlowLink }
