import type { KeyObject } from 'node:crypto'
import type { IncomingMessage } from 'node:http'
import type { Application, NextFunction, Request, Response } from 'express'
import type { Session, SessionData, Store } from 'express-session'

/** Anything with these four methods: `console`, pino, winston. Each is called with one string. */
export interface Logger {
  debug(message: string): void
  info(message: string): void
  warn(message: string): void
  error(message: string): void
}

/** Turns a session into text and back. `JSON` is one. */
export interface Serializer {
  stringify(session: SessionData): string
  parse(text: string): SessionData
}

/** TLS material in PEM. Without `ca` the system's trust store decides. */
export interface TlsOptions {
  /** Certificate authorities to trust instead of the system's. */
  ca?: string
  /** Client certificate chain; needs `key`. */
  cert?: string
  /** Private key of `cert`. */
  key?: string
}

/** Each option falls back to its environment variable, then to its default. */
export interface RedisStoreOptions {
  /** `redis://`, `rediss://` (TLS) or `redis+unix://`. `REDIS_URL`. */
  url?: string
  /** Default `localhost`. `REDIS_HOST`. */
  host?: string
  /** 1 to 65535, default 6379. `REDIS_PORT`. */
  port?: number
  /** Path of a unix socket, instead of `host` and `port`. */
  socketPath?: string
  /** ACL user. `REDIS_USERNAME`. */
  username?: string
  /** `REDIS_PASSWORD`. */
  password?: string
  /** Database number, default 0. `REDIS_DB`. */
  db?: number
  /** `REDIS_TLS` (`true` or `false`). */
  tls?: boolean | TlsOptions
  /** What every key starts with, default `meetabl:sess:`. */
  prefix?: string
  /**
   * Lifetime in seconds of a session whose cookie has no expiry, default 86400 (`SESSION_TIMEOUT`, in milliseconds). A
   * function wins over the cookie's expiry, as in connect-redis. A lifetime of 0 or less destroys the session.
   */
  ttl?: number | ((session: SessionData) => number)
  /** Keep sessions without an expiry, default false. */
  disableTTL?: boolean
  /** Leave the expiry alone on `touch`, default false. */
  disableTouch?: boolean
  /** Keys asked for at a time by `all`, `ids`, `length` and `clear`: 1 to 100000, default 100. */
  scanCount?: number
  /** Default `JSON`. */
  serializer?: Serializer
  /** How long Redis may take for a command before memory answers instead, in milliseconds: 10 to 60000, default 500. */
  commandTimeoutMs?: number
  /** How long connecting may take, in milliseconds: 10 to 60000, default 1000. */
  connectTimeoutMs?: number
  /**
   * What becomes of a session that two requests change at the same time: `merge` (default) keeps what both changed, the
   * later save wins where both changed the same; `last-write` keeps the later save alone. With a `serializer` that is not
   * `JSON` nothing is merged. In no case does a save bring back a session that is gone.
   */
  concurrency?: 'merge' | 'last-write'
  /** The table in this process: it answers reads without asking Redis, and serves while Redis is away. */
  cache?:
    | {
        /** Its size in bytes, at least 65536, default 64 MiB. */
        maxBytes?: number
        /**
         * How long at most, in milliseconds, a read may not show a change that Redis has acknowledged: 10 to 60000,
         * default 1000. As a rule it is less than one: Redis tells of each change.
         */
        maxStaleMs?: number
      }
    /** Ask Redis for each read. In an outage only what was changed in it is known then. */
    | false
  /**
   * How long the renewal of a session may wait for later ones, in milliseconds: 0 (each is sent) to 3600000. Default 1 %
   * of the session's lifetime, a minute at the most, and 0 for lifetimes under 50 seconds.
   */
  touchWindowMs?: number
  /** `memory` (default) serves while Redis is away; `error` lets every call fail with `ERR_STORE_UNAVAILABLE`. */
  fallback?: 'memory' | 'error'
  /** With `fallback: 'error'`: emit `disconnect`, upon which express-session goes on without sessions. Default false. */
  skipWhenDown?: boolean
  /** Wait before the second try to reach Redis, in milliseconds: 10 to 60000, default 50. It doubles from try to try. */
  reconnectMinMs?: number
  /** The longest such wait, in milliseconds: 10 to 60000, default 2000. */
  reconnectMaxMs?: number
  /** How long `close()` tries to write what Redis does not have yet, in milliseconds: 10 to 60000, default 1000. */
  closeTimeoutMs?: number
  /** Default `console` (without `debug`); `false` for silence. */
  logger?: Logger | false
  /** Refused: this store makes its own connection. The error shows the change to make. */
  client?: never
}

/**
 * - `connecting`: the first attempt is under way, operations wait for it
 * - `ready`: Redis serves
 * - `degraded`: Redis is away, memory serves
 * - `closed`: `close()` was called
 */
export type StoreState = 'connecting' | 'ready' | 'degraded' | 'closed'

/** Counters since the store was made, and gauges of this moment. */
export interface StoreStats {
  state: StoreState
  gets: number
  sets: number
  touches: number
  destroys: number
  /** Reads that found something that is not a session. */
  corrupt: number
  /** Saves whose session was gone. */
  refused: number
  /** Saves that were merged with another's. */
  merged: number
  /** Tries to save that found another text than the one that the session was made from. */
  conflicts: number
  /** Reads answered without asking Redis. */
  hits: number
  /** Reads that asked Redis, or waited for one that did. */
  misses: number
  /** Reads that Redis has not answered yet; several of one session may be one. */
  loadsInFlight: number
  /** Known sessions that another client changed. */
  invalidations: number
  /** Times that nothing known could be trusted any longer, because the connection was lost. */
  leaseLosses: number
  /** Renewals that needed no command of their own. */
  coalescedTouches: number
  /** Renewals that wait to be sent. */
  waitingTouches: number
  /** Operations answered from memory because Redis did not answer. */
  servedFromMemory: number
  /** Operations that waited for Redis longer than `commandTimeoutMs`. */
  timeouts: number
  /** Connections made to Redis. */
  connections: number
  /** Changes written to Redis after it was away, destroys included. */
  replayed: number
  /** Sessions put back into a Redis that came back without its data. */
  restored: number
  /** Operations under way. From 100,000 on, or when they carry much, further ones are refused with `ERR_STORE_BUSY`. */
  inFlight: number
  /** Changes that Redis does not have yet, destroyed sessions included. */
  unsaved: number
  /** Entries in this process's table: what is known of Redis, and what Redis does not have yet. */
  entries: number
  /** Bytes that this process's table holds. */
  bytes: number
}

/** What every failure carries. `code` is stable, `message` is for people. Neither holds a secret or a session id. */
export interface StoreError extends Error {
  code:
    | 'ERR_INVALID_OPTION'
    | 'ERR_INVALID_ARGUMENT'
    | 'ERR_INVALID_SESSION_ID'
    | 'ERR_INVALID_SESSION'
    | 'ERR_INVALID_TTL'
    | 'ERR_NO_SESSION'
    | 'ERR_REDIS'
    | 'ERR_RANDOM'
    | 'ERR_STORE_BUSY'
    | 'ERR_STORE_CLOSED'
    | 'ERR_STORE_CONTENDED'
    | 'ERR_STORE_NESTED'
    | 'ERR_STORE_FULL'
    | 'ERR_STORE_UNAVAILABLE'
    | 'ERR_INTERNAL'
}

/** Await it for an array, or iterate over it (`for await`) to hold only one batch at a time. Nothing is read before. */
export interface Listing<T> extends Promise<T[]>, AsyncIterable<T> {}

/** A session as `all()` lists it. */
export type ListedSession = SessionData & { id: string }

export interface StoreEvents {
  /** A connection to Redis was made. */
  connect: []
  /** Redis serves. */
  ready: []
  /** A try to reach Redis failed; the next one comes after `delayMs`. */
  reconnecting: [{ attempt: number; delayMs: number }]
  /** Redis is away, memory serves. Once per outage. */
  fallback: []
  /** Redis is back and has what changed meanwhile. */
  recovered: [{ replayed: number }]
  /** A save was not made, because the session that it was made from is gone. */
  refused: []
  /** Why a try to reach Redis failed, or why the connection was lost. Emitted only when someone listens. */
  error: [StoreError]
  close: []
}

/** Keeps express-session's sessions in Redis. Every method takes a callback or returns a promise. */
export class RedisStore extends Store {
  constructor(options?: RedisStoreOptions)

  /**
   * A new object each time, or `null` when there is no such session. `cookie.expires` is the live expiry. The callback is
   * called before this returns when the session is known.
   */
  get(sid: string, callback: (error: any, session?: SessionData | null) => void): void
  get(sid: string): Promise<SessionData | null>
  /**
   * Writes a session. One that came from this store is merged with what others made of it since; when it is gone,
   * nothing is written, without an error.
   */
  set(sid: string, session: SessionData, callback: (error?: any) => void): void
  set(sid: string, session: SessionData): Promise<void>
  /** Renews the expiry; nothing else is written. Answers at once, and Redis is told within `touchWindowMs`. */
  touch(sid: string, session: SessionData, callback: (error?: any) => void): void
  touch(sid: string, session: SessionData): Promise<void>
  destroy(sid: string, callback: (error?: any) => void): void
  destroy(sid: string): Promise<void>
  /**
   * Removes every session under the prefix, and nothing else. A `set` that is made while it runs may be removed too.
   * While a Redis that was reached before is away, it fails with `ERR_STORE_UNAVAILABLE`.
   */
  clear(callback: (error?: any) => void): void
  clear(): Promise<void>
  length(callback: (error: any, length?: number) => void): void
  length(): Promise<number>
  ids(callback: (error: any, ids?: string[]) => void): void
  ids(): Listing<string>
  /** Sessions as they are stored: without the renewed expiry. */
  all(callback: (error: any, sessions?: ListedSession[]) => void): void
  all(): Listing<ListedSession>

  /** Resolves as soon as the store serves, from Redis or from memory, with its state. Never rejects on an outage. */
  ready(): Promise<StoreState>
  /** Finishes what is under way and lets go of Redis. Later calls fail with `ERR_STORE_CLOSED`. */
  close(): Promise<void>
  [Symbol.asyncDispose](): Promise<void>

  readonly state: StoreState
  stats(): StoreStats

  readonly prefix: string
  readonly ttl: number | ((session: SessionData) => number)
  readonly scanCount: number
  readonly disableTTL: boolean
  readonly disableTouch: boolean
  readonly serializer: Serializer

  on<E extends keyof StoreEvents>(event: E, listener: (...args: StoreEvents[E]) => void): this
  on(event: string | symbol, listener: (...args: any[]) => void): this
  once<E extends keyof StoreEvents>(event: E, listener: (...args: StoreEvents[E]) => void): this
  once(event: string | symbol, listener: (...args: any[]) => void): this
}

/**
 * Middleware that adds `req.regenerateSession` and `req.destroySession`. It goes after express-session and works with
 * any store.
 */
export function sessionHelpers(): (req: Request, res: Response, next: NextFunction) => void

// ----- The security layer -----

/** Text or bytes: at least 32 characters, or bytes. With several, the first signs and all of them verify. */
export type Secret = string | Buffer | Uint8Array
export type Secrets = Secret | [Secret, ...Secret[]]

type Middleware = (req: Request, res: Response, next: NextFunction) => void

/** `value`, a dot and its signature, as the package cookie-signature makes it. */
export function sign(value: string, secret: Secret | NodeJS.ArrayBufferView | KeyObject): string
/** What was signed; `false` when this secret did not sign it. */
export function unsign(input: string, secret: Secret | NodeJS.ArrayBufferView | KeyObject): string | false

export type SecurityEventType =
  | 'session_created'
  | 'session_regenerated'
  | 'session_destroyed'
  | 'session_expired'
  | 'session_unknown'
  | 'signature_refused'
  | 'id_refused'
  | 'old_secret_used'
  | 'user_agent_bound'
  | 'user_agent_mismatch'
  | 'csrf_refused'
  | 'upgrade_refused'

/** What happened. It holds no session id, secret or session data; what the client wrote is cut short, on one line. */
export interface SecurityEvent {
  type: SecurityEventType
  /** ISO 8601. */
  time: string
  /** Why, in one word, where there is more than one reason. */
  reason?: string
  /** A name for the session: the same for the same one as long as the process lives, and of no use to anyone else. */
  session?: string
  ip: string
  method: string
  /** Without the query. */
  path: string
  userAgent: string
  /** How many events of this type were left out before it: no more than 100 at once and 10 a second are told. */
  suppressed?: number
}

export interface SecurityEventOptions {
  /** Called for each event. What it throws is logged, and changes nothing for the request. */
  onSecurityEvent?: (event: SecurityEvent) => void
  /** Default `console` (without `debug`); `false` for silence. */
  logger?: Logger | false
}

export interface UserAgentRules {
  /**
   * - `exact` (default): the same header
   * - `family`: the same but for version numbers, so that a browser's update logs nobody out
   * - a function that answers `true` when they agree; anything else, or a throw, does not
   */
  compare?: 'exact' | 'family' | ((bound: string, current: string, req: Request) => boolean)
  /** `report` only tells. Default `enforce`. */
  mode?: 'enforce' | 'report'
  /** A session from before the guard: `bind` (default) it at its next request, or `reject` it. */
  legacy?: 'bind' | 'reject'
}

/**
 * Middleware for after express-session, with any store: a session that another User-Agent uses is destroyed and the
 * request answered with 401. That detects some stolen cookies; it prevents none.
 */
export function userAgentGuard(options?: UserAgentRules & SecurityEventOptions): Middleware

export interface CsrfRules {
  /**
   * - `strict` (default): the source of the request, and a token
   * - `origin`: the source alone; a token where the browser does not tell it
   */
  mode?: 'strict' | 'origin'
  /** Only tell, refuse nothing. Default false. */
  reportOnly?: boolean
  /** Whole origins that may send requests too, as `https://admin.example.com`. They still need a token. */
  trustedOrigins?: string | string[]
  /** Paths that are not protected: whole ones (`/hook`), or all below one that ends in a slash (`/hooks/`). */
  exempt?: string | string[]
}

/**
 * Middleware for after express-session, and for after the body parser when forms send the token as `_csrf`. What it
 * refuses goes to `next(error)` with status 403 and the code `EBADCSRFTOKEN`.
 */
export function csrfProtection(options?: CsrfRules & SecurityEventOptions & { secret?: Secrets }): Middleware

/** A handler that answers `{ csrfToken }`, for pages that the server does not render. */
export function csrfTokenRoute(): (req: Request, res: Response) => void

export interface MeetablSessionOptions extends SecurityEventOptions {
  /** Default: a new `RedisStore` with the options `redis`. */
  store?: Store
  redis?: RedisStoreOptions
  /** `SESSION_SECRET`, `SESSION_SECRET_PREVIOUS` (earlier ones, separated by spaces). */
  secret?: Secrets
  /** The cookie's name, default `meetabl.sid`. One that starts with `__Host-` is held to what browsers ask of it. */
  name?: string
  /** `Secure` and `SameSite=Strict` in production, else `SameSite=Lax`; always `HttpOnly`. */
  cookie?: {
    path?: string
    domain?: string
    secure?: boolean | 'auto'
    httpOnly?: true
    sameSite?: true | 'strict' | 'lax' | 'none'
    partitioned?: boolean
    priority?: 'low' | 'medium' | 'high'
  }
  /** Makes ids instead of 256 random bits. They must match `idPattern`. */
  genid?: (req: Request) => string
  /** Which ids may become part of a key. Default: 16 to 128 letters, digits, `-` and `_`. */
  idPattern?: RegExp
  /** Renew the cookie with every response. Default false: when half of its time is over. */
  rolling?: boolean
  /** How long a session lasts without use, in milliseconds, default a day. `SESSION_TIMEOUT`. */
  timeoutMs?: number
  /** How long it lasts at all, in milliseconds. Default: without end. */
  absoluteTimeoutMs?: number
  /** How long before the end responses say so, in milliseconds: at least 20000, default 120000. */
  warnBeforeMs?: number
  /** Timeouts of an authenticator assurance level of NIST SP 800-63B-4. Shorter ones may be set, longer ones not. */
  preset?: 'aal1' | 'aal2' | 'aal3'
  /** `false`: no absolute timeout, no warning. */
  timeouts?: false
  /** `false`: no `req.regenerateSession`, no `req.destroySession`. */
  helpers?: false
  userAgent?: UserAgentRules | false
  csrf?: CsrfRules | false
}

export interface MeetablSession<S extends Store = Store> extends Middleware {
  readonly store: S
  /** Lets go of the store, unless it was given. */
  close(): Promise<void>
  /** From now on the first of these signs, and all of them verify. Cookies of the others are signed anew. */
  rotateSecrets(secrets: [Secret, ...Secret[]]): void
  /**
   * The session of an upgrade request (WebSocket), by the same rules, and only when it comes from an own or a trusted
   * origin; else null. `app` tells which proxies are trusted. It does not count as activity.
   */
  verifySession(req: IncomingMessage, app?: Application): Promise<(Session & Partial<SessionData>) | null>
}

/** express-session, `RedisStore`, helpers, User-Agent guard, CSRF protection and timeouts in one middleware. */
export function meetablSession(options?: MeetablSessionOptions & { store?: undefined }): MeetablSession<RedisStore>
export function meetablSession<S extends Store>(options: MeetablSessionOptions & { store: S }): MeetablSession<S>

declare global {
  namespace Express {
    interface Request {
      /**
       * Destroys the session and starts an empty one with a new id: call it at login and at every change of rights
       * (OWASP ASVS 5.0, 7.2.4). When the destroy fails, so does this, and nothing changes.
       */
      regenerateSession(): Promise<void>
      regenerateSession(callback: (error?: any) => void): void
      /** Destroys the session and clears its cookie. When the destroy fails, so does this, and nothing changes. */
      destroySession(): Promise<void>
      destroySession(callback: (error?: any) => void): void
      /** A fresh CSRF token for this session. Asking for one is what makes a visitor's session stay. */
      csrfToken(): string
    }
  }
}
