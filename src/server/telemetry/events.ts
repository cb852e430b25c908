/**
 * All that the server tells telemetry, as one union: whoever has something to tell is given a
 * `Report`, and `telemetry.ts` turns each kind of event into metrics, log lines and spans.
 *
 * What can be read at any time (queue lengths, permits in use, open connections) is no event but a
 * `Gauges`, which is asked for when the metrics are read.
 */
import type { Reason } from '../../errors.js';
import type { ChildEvent } from '../../workers/process/supervised-child.js';
import type { CallRecord, ImageRecord } from './record.js';

/** The two stages of an image. */
export type StageName = 'decode' | 'batch';
/** Why an image was not worked on. */
export type DropCause = 'cancelled' | 'expired' | 'unreachable';
/** Why a connection was ended before it could carry a call. */
export type RefusalCause =
  | 'limit'
  | 'handshake_timeout'
  | 'tls'
  | 'client_certificate'
  | 'protocol';
/** Files that are watched, as metrics and the log name them. */
export type CredentialKind = 'certificate' | 'tokens';

/** A model that is served. */
export interface ServedModelEvent {
  readonly name: string;
  readonly version: string;
  readonly executionProvider: string;
  readonly fallbackReason: string | null;
  readonly slowForm: { readonly reason: string; readonly remedy: string } | null;
  readonly maxBatchSize: number;
}

export type ServerEvent =
  /** The caller's token is right, so the call may be traced. Not of the server's own warm-up. */
  | { readonly kind: 'call-authenticated'; readonly call: CallRecord }
  /** The call, or an image of it, failed through a fault of the server; `cause` is for the log. */
  | { readonly kind: 'call-failed'; readonly call: CallRecord; readonly cause: unknown }
  /** `code` is the name of a gRPC status. */
  | {
      readonly kind: 'call-ended';
      readonly call: CallRecord;
      readonly code: string;
      readonly reason: Reason | null;
    }
  /** One image of a stream was answered. */
  | {
      readonly kind: 'stream-image-ended';
      readonly call: CallRecord;
      readonly image: ImageRecord;
      readonly code: string;
      readonly reason: Reason | null;
    }
  /** The pixels of an image are there. */
  | { readonly kind: 'image-decoded'; readonly image: ImageRecord }
  /** An image has its scores. */
  | { readonly kind: 'image-executed'; readonly image: ImageRecord }
  | { readonly kind: 'image-dropped'; readonly stage: StageName; readonly cause: DropCause }
  /** An image goes to another process because its own was lost. */
  | { readonly kind: 'image-retried'; readonly stage: StageName }
  /** An image was found to end the processes that work on it. */
  | {
      readonly kind: 'image-quarantined';
      readonly stage: StageName;
      readonly sha256: string;
      readonly bytes: number;
    }
  | {
      readonly kind: 'batch-executed';
      readonly model: string;
      readonly batchSize: number;
      readonly executionMs: number;
    }
  /** The limit follows what the machine has lately answered. */
  | {
      readonly kind: 'permits-corrected';
      readonly permits: number;
      readonly imagesPerSecond: number;
    }
  /** There are fewer permits than would be good, for want of `short`. */
  | { readonly kind: 'permits-short'; readonly permits: number; readonly short: string }
  /** A rejection is held back. */
  | { readonly kind: 'rejection-held' }
  /** Calls get the version from now on. */
  | {
      readonly kind: 'model-served';
      readonly model: ServedModelEvent;
      /** Inference processes. */
      readonly processes: number;
    }
  /** Calls do not get it any more; it answers what it has begun. */
  | { readonly kind: 'model-withdrawn'; readonly model: ServedModelEvent }
  /** After `model-withdrawn`: its last image is answered and its processes have ended. */
  | { readonly kind: 'model-retired'; readonly model: ServedModelEvent }
  /**
   * A version (or, with an empty name, the repository) cannot be loaded; what was served still is.
   */
  | {
      readonly kind: 'model-failed';
      readonly name: string;
      readonly version: string;
      readonly problems: readonly string[];
    }
  /** `peer` and `detail` are for the log. */
  | {
      readonly kind: 'connection-refused';
      readonly cause: RefusalCause;
      readonly peer: string;
      readonly detail: string;
    }
  /** New content is in use; `detail` says what it is and holds nothing secret. */
  | {
      readonly kind: 'credentials-loaded';
      readonly of: CredentialKind;
      readonly detail: Readonly<Record<string, string | number>>;
    }
  /** A look found nothing usable: what was loaded before stays in use. */
  | {
      readonly kind: 'credentials-kept';
      readonly of: CredentialKind;
      readonly problems: readonly string[];
    }
  | ChildEvent;

export type Report = (event: ServerEvent) => void;

/** What is read when the metrics are. */
export interface Gauges {
  readonly state: string;
  readonly permitsLimit: number;
  readonly permitsInUse: number;
  /** Unary image calls whose body has not arrived in full. */
  readonly uploads: number;
  /** Calls whose rejection is held back now. */
  readonly heldRejections: number;
  readonly connections: number;
  readonly slotBytes: number;
  /** Images that wait for a decoder. */
  readonly decodeQueue: number;
  readonly models: readonly {
    readonly name: string;
    readonly version: string;
    /** Images that wait for a batch. */
    readonly queue: number;
    /** What batches cost now. */
    readonly costs: readonly { readonly batchSize: number; readonly milliseconds: number }[];
  }[];
}
