export interface SessionWatchOptions {
  /** A cheap GET route behind the session middleware: its headers tell when the session ends. */
  url: string
  /** What the dialog says. */
  texts?: { title?: string; idle?: string; absolute?: string; stay?: string; close?: string }
}

/** The `detail` of the event `session-warning`. */
export interface SessionWarning {
  expiresInMs: number
  /** `idle` can be stayed by activity, `absolute` cannot. */
  reason: 'idle' | 'absolute'
  /** Counts as activity: call it when a person says so. */
  staySignedIn(): Promise<void>
}

/**
 * Watches the session of a page. On `document` it dispatches `session-warning` (cancel it to show a dialog of your own),
 * `session-continued` and `session-expired`.
 */
export function watchSession(options: SessionWatchOptions): { stop(): void }
