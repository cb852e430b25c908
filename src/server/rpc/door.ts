/**
 * What a call of each kind takes at the door, and gives back when it ends.
 *
 * - Unary images: an upload allowance, which becomes a permit when the body is complete.
 * - Streams of images: a place among the streams; each message an upload allowance from its first
 *   byte on, waited for.
 * - All others (health, reflection, questions about models): a place among the others, a small
 *   message, and the same time to send it.
 *
 * So what callers can make the front hold is bounded, whoever they are: 3 × permits ×
 * `max-image-bytes`, and for streams that wait and other calls MOST_STREAMS × STREAM_WINDOW_BYTES +
 * MOST_OTHERS × OTHER_MESSAGE_BYTES.
 */
import type { ServerInterceptingCallInterface } from '@grpc/grpc-js';
import type { Clock } from '../../clock.js';
import { SERVICE_NAME } from '../../contract/contract.js';
import { RequestError } from '../../errors.js';
import type { Admission, StreamUpload } from '../admission/admission.js';
import type { Permit } from '../admission/permits.js';
import { limitMessages } from '../workarounds/base-call.js';
import { holdBody, watchBody } from '../workarounds/body.js';

export type CallKind = 'image' | 'stream' | 'other';

/** Open at a time, over all connections. */
export const MOST_STREAMS = 256;
export const MOST_OTHERS = 4096;
/** A question about a model or a service has a name or two. */
export const OTHER_MESSAGE_BYTES = 16 * 1024;

const UNARY_IMAGE_PATHS = new Set([`/${SERVICE_NAME}/Classify`, `/${SERVICE_NAME}/Embed`]);
const STREAM_PATH = `/${SERVICE_NAME}/ClassifyStream`;
const FULL_RETRY_MS = 1_000;

export function kindOf(path: string): CallKind {
  if (path === STREAM_PATH) return 'stream';
  return UNARY_IMAGE_PATHS.has(path) ? 'image' : 'other';
}

/** What a call holds from its metadata to its end. */
export interface Stay {
  /** A message has arrived in full. */
  onMessage(): void;
  /**
   * The caller has sent everything. The permit, for a unary image. Throws RequestError where there
   * is none.
   */
  onComplete(): Permit | null;
  /** The call has ended, in whatever way. Called once. */
  end(): void;
}

export interface DoorOptions {
  readonly admission: Admission;
  readonly clock: Clock;
  readonly maxImageBytes: number;
  readonly uploadTimeoutMs: number;
}

export class Door {
  readonly #options: DoorOptions;
  #streams = 0;
  #others = 0;

  constructor(options: DoorOptions) {
    this.#options = options;
  }

  /**
   * Throws RequestError OVERLOADED. `refuse` ends the call later on, when it takes too long.
   * `hasManyMessages`: the caller may send as many as it likes.
   */
  enter(
    kind: CallKind,
    call: ServerInterceptingCallInterface,
    refuse: (error: RequestError) => void,
    { hasManyMessages = false } = {},
  ): Stay {
    if (kind === 'image') return this.#enterImage(refuse);
    return kind === 'stream'
      ? this.#enterStream(call, refuse)
      : this.#enterOther(call, refuse, hasManyMessages);
  }

  #enterImage(refuse: (error: RequestError) => void): Stay {
    const upload = this.#options.admission.beginUpload(refuse);
    return { onMessage: () => {}, onComplete: () => upload.admit(), end: () => upload.end() };
  }

  #enterStream(call: ServerInterceptingCallInterface, refuse: (error: RequestError) => void): Stay {
    if (this.#streams >= MOST_STREAMS) throw full('streams');
    this.#streams++;
    let upload: StreamUpload | null = null;
    let ended = false;
    watchBody(call, () => {
      if (upload !== null || ended) return;
      let release = () => {};
      upload = this.#options.admission.beginStreamUpload(() => release(), refuse);
      if (upload.waits) release = holdBody(call);
    });
    const endUpload = () => {
      upload?.end();
      upload = null;
    };
    return {
      onMessage: endUpload,
      onComplete: () => null,
      end: () => {
        ended = true;
        this.#streams--;
        endUpload();
      },
    };
  }

  #enterOther(
    call: ServerInterceptingCallInterface,
    refuse: (error: RequestError) => void,
    hasManyMessages: boolean,
  ): Stay {
    const { clock, uploadTimeoutMs } = this.#options;
    if (this.#others >= MOST_OTHERS) throw full('other calls');
    this.#others++;
    limitMessages(call, OTHER_MESSAGE_BYTES);
    const cancelTimer = clock.after(uploadTimeoutMs, () =>
      refuse(
        new RequestError(
          'UPLOAD_TIMEOUT',
          `the request did not arrive within ${uploadTimeoutMs} ms`,
        ),
      ),
    );
    return {
      // Where there is one message nothing is done before the caller has ended its side, too.
      onMessage: hasManyMessages ? cancelTimer : () => {},
      onComplete: () => {
        cancelTimer();
        return null;
      },
      end: () => {
        this.#others--;
        cancelTimer();
      },
    };
  }
}

function full(of: string): RequestError {
  return new RequestError(
    'OVERLOADED',
    `overloaded: as many ${of} as there may be are open: retry later or elsewhere`,
    {
      retryAfterMs: FULL_RETRY_MS,
    },
  );
}
