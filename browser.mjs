// For a page: tells when its session is about to end, and offers to stay signed in. Asking how long it still lasts does not
// count as activity; only a person's "stay signed in" does.
//
//   import { watchSession } from '/meetabl-session.mjs'
//   watchSession({ url: '/session' })
//
// On `document`: `session-warning` (its default is a dialog; `preventDefault()` for one of your own), `session-continued`
// and `session-expired`.

const SECOND = 1000
// While a warning shows, another tab may go on working: so often it is asked whether one did.
const ASK_AGAIN_MS = 10 * SECOND
// Timers stop while a computer sleeps: a long wait is cut into pieces.
const LONGEST_WAIT_MS = 15 * 60 * SECOND

const TEXTS = {
  title: 'Are you still there?',
  idle: 'You will be signed out soon, because nothing happened here for a while.',
  absolute: 'You will be signed out soon. Please save your work, and sign in again afterwards.',
  stay: 'Stay signed in',
  close: 'Close'
}

/** Starts watching; the returned object's `stop()` ends it. `url` is a cheap GET route behind the session middleware. */
export function watchSession({ url, texts = {} }) {
  const watch = new Watch(url, { ...TEXTS, ...texts })
  watch.start()
  return { stop: () => watch.stop() }
}

class Watch {
  #url
  #texts
  #timer
  #dialog = null
  #isKnown = false
  #isWarning = false
  #onVisible = () => document.visibilityState === 'visible' && this.#ask()

  constructor(url, texts) {
    this.#url = url
    this.#texts = texts
  }

  start() {
    document.addEventListener('visibilitychange', this.#onVisible)
    this.#ask()
  }

  stop() {
    clearTimeout(this.#timer)
    document.removeEventListener('visibilitychange', this.#onVisible)
    this.#endWarning()
  }

  /** What the server knows. A request that fails tells nothing: it is asked again. */
  async #ask() {
    clearTimeout(this.#timer)
    const headers = await this.#request({ 'Session-Activity': 'none' })
    if (headers === null) this.#wait(ASK_AGAIN_MS)
    // Without a session there is nothing to watch, until somebody signs in: a page that does calls `watchSession` anew.
    else if (!headers.has('Session-Expires-In')) this.#expire()
    else this.#hear(headers)
  }

  async #request(headers) {
    try {
      const answer = await fetch(this.#url, { headers, cache: 'no-store', credentials: 'same-origin' })
      return answer.headers
    } catch {
      return null
    }
  }

  #hear(headers) {
    this.#isKnown = true
    const leftMs = Number(headers.get('Session-Expires-In')) * SECOND
    const reason = headers.get('Session-Warning')
    if (reason === null) {
      this.#continue()
      this.#wait(Number(headers.get('Session-Warning-In')) * SECOND)
    } else {
      this.#warn(leftMs, reason)
      this.#wait(Math.min(ASK_AGAIN_MS, leftMs))
    }
  }

  /** What a person asked for, and so activity. */
  async #stay() {
    await this.#request({})
    await this.#ask()
  }

  #wait(ms) {
    clearTimeout(this.#timer)
    this.#timer = setTimeout(() => this.#ask(), Math.min(LONGEST_WAIT_MS, Math.max(SECOND, ms)))
  }

  #warn(expiresInMs, reason) {
    if (this.#isWarning) return
    this.#isWarning = true
    const staySignedIn = () => this.#stay()
    const detail = { expiresInMs, reason, staySignedIn }
    const isDefault = document.dispatchEvent(new CustomEvent('session-warning', { detail, cancelable: true }))
    if (isDefault) this.#showDialog(reason, staySignedIn)
  }

  #continue() {
    if (!this.#isWarning) return
    this.#endWarning()
    document.dispatchEvent(new CustomEvent('session-continued'))
  }

  #expire() {
    if (!this.#isKnown) return
    this.stop()
    this.#isKnown = false
    document.dispatchEvent(new CustomEvent('session-expired'))
  }

  #endWarning() {
    this.#isWarning = false
    this.#dialog?.remove()
    this.#dialog = null
  }

  #showDialog(reason, staySignedIn) {
    const { title, stay, close, [reason]: text } = this.#texts
    const isIdle = reason === 'idle'
    const dialog = document.createElement('dialog')
    dialog.className = 'session-warning'
    dialog.append(element('h2', title), element('p', text), element('button', isIdle ? stay : close))
    dialog.querySelector('button').addEventListener('click', () => {
      dialog.close()
      if (isIdle) staySignedIn()
    })
    document.body.append(dialog)
    dialog.showModal()
    this.#dialog = dialog
  }
}

function element(name, text) {
  const made = document.createElement(name)
  made.textContent = text
  return made
}
