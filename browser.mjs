// For a page: tells when its session is about to end, and offers to stay signed in. Asking how long it still lasts does not
// count as activity; only a person's "stay signed in" does.
//
//   import { watchSession } from '/meetabl-session.mjs'
//   watchSession({ url: '/session' })
//
// On `document`: `session-warning` (its default is a dialog; `preventDefault()` for one of your own), `session-continued`
// and `session-expired`.

const SECOND = 1000
const WARN_BEFORE_MS = 120 * SECOND
const WARN_BEFORE_MIN_MS = 20 * SECOND
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
export function watchSession({ url, warnBeforeMs = WARN_BEFORE_MS, texts = {} }) {
  const watch = new Watch(url, Math.max(WARN_BEFORE_MIN_MS, warnBeforeMs), { ...TEXTS, ...texts })
  watch.start()
  return { stop: () => watch.stop() }
}

class Watch {
  #url
  #warnBeforeMs
  #texts
  #timer
  #dialog = null
  #isKnown = false
  #isWarning = false
  #onVisible = () => document.visibilityState === 'visible' && this.#ask()

  constructor(url, warnBeforeMs, texts) {
    this.#url = url
    this.#warnBeforeMs = warnBeforeMs
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
  async #ask(isActivity = false) {
    clearTimeout(this.#timer)
    try {
      const headers = isActivity ? {} : { 'Session-Activity': 'none' }
      const answer = await fetch(this.#url, { headers, cache: 'no-store', credentials: 'same-origin' })
      this.#hear(answer.headers.get('Session-Expires-In'), answer.headers.get('Session-Warning'))
    } catch {
      this.#wait(ASK_AGAIN_MS)
    }
  }

  #hear(seconds, reason) {
    // Without a session there is nothing to watch, until somebody signs in: a page that does calls `watchSession` anew.
    if (seconds === null) return this.#expire()
    this.#isKnown = true
    const leftMs = Number(seconds) * SECOND
    if (leftMs > this.#warnBeforeMs && reason === null) {
      this.#continue()
      this.#wait(leftMs - this.#warnBeforeMs)
    } else {
      this.#warn(leftMs, reason ?? 'idle')
      this.#wait(Math.min(ASK_AGAIN_MS, leftMs))
    }
  }

  #wait(ms) {
    clearTimeout(this.#timer)
    this.#timer = setTimeout(() => this.#ask(), Math.min(LONGEST_WAIT_MS, Math.max(SECOND, ms)))
  }

  #warn(expiresInMs, reason) {
    if (this.#isWarning) return
    this.#isWarning = true
    const staySignedIn = () => this.#ask(true)
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
