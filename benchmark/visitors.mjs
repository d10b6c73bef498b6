// The load on an app, from this process: visitors who are logged in, over connections that are kept.

import { performance } from 'node:perf_hooks'
import { Pool } from 'undici'

/** `connections` is also how many requests there may be at a time. */
export async function openVisitors(origin, { visitors, connections }) {
  const pool = new Pool(origin, { connections, pipelining: 1 })
  const cookies = []
  for (let n = 0; n < visitors; n++) cookies.push(await logIn(pool))
  return {
    /** An operation for `runLoad`. How long each request took goes into `times`, in milliseconds. */
    requests: (path, times) => (n, done) => {
      const begin = performance.now()
      pool.dispatch(
        { path, method: 'GET', headers: { cookie: cookies[n % visitors] } },
        new Answer((error) => {
          times.push(performance.now() - begin)
          done(error)
        })
      )
    },
    close: () => pool.close()
  }
}

async function logIn(pool) {
  const { statusCode, headers, body } = await pool.request({ path: '/login', method: 'GET' })
  await body.dump()
  if (statusCode !== 200) throw new Error(`the login was answered with ${statusCode}`)
  return headers['set-cookie']?.split(';')[0] ?? ''
}

class Answer {
  #settle
  #status

  constructor(settle) {
    this.#settle = settle
  }

  onRequestStart() {}

  onResponseStart(_controller, status) {
    this.#status = status
  }

  onResponseData() {}

  onResponseEnd() {
    this.#settle(this.#status === 200 ? undefined : new Error(`a request was answered with ${this.#status}`))
  }

  onResponseError(_controller, error) {
    this.#settle(error)
  }
}
