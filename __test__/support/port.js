// A port on which nobody listens. It is chosen below the range that the system gives to outgoing connections, so that
// it stays free while a server is down, and no connection attempt can meet itself there.
const net = require('node:net')

const LOWEST = 12_000
const HIGHEST = 32_000

async function freePort() {
  for (;;) {
    const port = LOWEST + Math.floor(Math.random() * (HIGHEST - LOWEST))
    if (await canListen(port)) return port
  }
}

function canListen(port) {
  return new Promise((resolve) => {
    const server = net.createServer()
    server.once('error', () => resolve(false))
    server.listen(port, '127.0.0.1', () => server.close(() => resolve(true)))
  })
}

module.exports = { freePort }
