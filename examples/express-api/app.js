'use strict'

// The API: who is logged in, and a cart, both kept in the session. Sessions, and what protects them, are one line.

const path = require('node:path')
const express = require('express')
const { csrfTokenRoute } = require('meetabl-session')
const { createUsers } = require('./users')

const CART_ITEMS = 50

/** `sessions` is what `meetablSession()` makes. */
function createApp({ sessions, env }) {
  const users = createUsers()
  const app = express()
  app.disable('x-powered-by')
  // TLS ends at a proxy in front: without this, no request looks secure and no cookie would be set.
  if (env.NODE_ENV === 'production') app.set('trust proxy', 1)

  // Above the session, so that watching the service costs no read and makes no session.
  app.get('/health', (_req, res) => {
    res.set('Cache-Control', 'no-store').json({ status: 'ok', sessions: sessions.store.state })
  })
  app.use(express.static(path.join(__dirname, 'public')))
  // What warns the page before its session ends.
  app.get('/meetabl-session.mjs', (_req, res) => {
    res.sendFile(require.resolve('meetabl-session/browser'), { dotfiles: 'allow' })
  })

  // The body first: a slow one should not hold a session that is growing old.
  app.use(express.json({ limit: '10kb' }))
  app.use(sessions)
  app.use((_req, res, next) => {
    res.set('Cache-Control', 'no-store')
    next()
  })

  // Every request that changes something brings a token from here, in the header X-CSRF-Token.
  app.get('/csrf-token', csrfTokenRoute())
  // For the page to ask how long its session lasts: the answer is in the headers.
  app.get('/session', (_req, res) => res.status(204).end())

  app.post('/register', async (req, res) => {
    const { username, password } = req.body ?? {}
    if (!isUsername(username) || !isPassword(password)) return refuse(res, 400, 'invalid_input')
    if (!(await users.register(username, password))) return refuse(res, 409, 'username_taken')
    await logIn(req, username)
    res.status(201).json(req.session.user)
  })

  app.post('/login', async (req, res) => {
    const { username, password } = req.body ?? {}
    if (typeof username !== 'string' || typeof password !== 'string') return refuse(res, 400, 'invalid_input')
    if (!(await users.verify(username, password))) return refuse(res, 401, 'invalid_credentials')
    await logIn(req, username)
    res.json(req.session.user)
  })

  app.get('/profile', (req, res) => {
    if (!req.session.user) return refuse(res, 401, 'not_logged_in')
    res.json(req.session.user)
  })

  app.get('/cart', (req, res) => {
    res.json({ cart: req.session.cart ?? {} })
  })

  app.post('/cart', (req, res) => {
    const { item, quantity } = req.body ?? {}
    if (!isItem(item) || !isQuantity(quantity)) return refuse(res, 400, 'invalid_input')
    const cart = { ...req.session.cart, [item]: quantity }
    if (Object.keys(cart).length > CART_ITEMS) return refuse(res, 409, 'cart_full')
    req.session.cart = cart
    res.json({ cart })
  })

  app.post('/logout', async (req, res) => {
    await req.destroySession()
    res.status(204).end()
  })

  app.use((_req, res) => refuse(res, 404, 'not_found'))
  app.use(answerError)
  return app
}

/** A new session id at every login: an id that someone planted in this browser before is worth nothing afterwards. */
async function logIn(req, username) {
  // What a visitor put into the cart goes along; another user's cart does not.
  const cart = req.session.user ? undefined : req.session.cart
  await req.regenerateSession()
  req.session.user = { username, loggedInAt: new Date().toISOString() }
  if (cart) req.session.cart = cart
}

function refuse(res, status, code) {
  res.status(status).json({ error: code })
}

const ERRORS = {
  'entity.parse.failed': 'invalid_json',
  'entity.too.large': 'body_too_large',
  EBADCSRFTOKEN: 'invalid_csrf_token'
}

/** The client learns a code; the reason is for whoever runs the server. Express knows this by its four parameters. */
function answerError(error, _req, res, next) {
  const status = error.status >= 400 && error.status < 500 ? error.status : 500
  // Not the error object: body-parser's carry the body, and with it passwords.
  if (status === 500) console.error(error.stack)
  if (res.headersSent) return next(error)
  refuse(res, status, status === 500 ? 'internal_error' : (ERRORS[error.type ?? error.code] ?? 'bad_request'))
}

const isUsername = (value) => typeof value === 'string' && /^[\w.-]{3,32}$/.test(value)
const isPassword = (value) => typeof value === 'string' && value.length >= 8 && value.length <= 128
const isItem = (value) => typeof value === 'string' && /^[\p{L}\p{N}][\p{L}\p{N} .'-]{0,63}$/u.test(value)
const isQuantity = (value) => Number.isInteger(value) && value >= 1 && value <= 99

module.exports = { createApp }
