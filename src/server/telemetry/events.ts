/**
 * All events that the server reports to telemetry, as one union. Parts of the server get a
 * `Report`, and `telemetry.ts` turns each kind of event into metrics, log lines and spans.
 *
 * Values that can be read at any time (queue lengths, permits in use, open connections) are not
 * events: they are in `Gauges`, which is read with the metrics.
 */
import type { Reason } from '../../errors.js';
import type { ChildEvent } from '../../workers/process/supervised-child.js';
import type { CallRecord, ImageRecord } from './record.js';

/** The two stages that an image passes. */
export type StageName = 'decode' | 'batch';
/** Why a stage dropped an image. */
export type DropCause = 'cancelled' | 'expired' | 'unreachable';
/** Why a connection was rejected before it could carry a call. */
export type RefusalCause =
  | 'limit'
  | 'handshake_timeout'
  | 'tls'
  | 'client_certificate'
  | 'protocol';
/** Files that are watched, as metrics and the log name them. */
export type CredentialKind = 'certificate' | 'tokens';

/** A served model. */
export interface ServedModelEvent {
  readonly name: string;
  readonly version: string;
  readonly executionProvider: string;
  readonly fallbackReason: string | null;
  readonly slowForm: { readonly reason: string; readonly remedy: string } | null;
  readonly maxBatchSize: number;
}

export type ServerEvent =
  /** The token is valid, so the call may be traced. Not for the server's own warm-up. */
  | { readonly kind: 'call-authenticated'; readonly call: CallRecord }
  /** The call, or an image of it, failed by a fault of the server; `cause` is for the log. */
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
  /** An image is decoded. */
  | { readonly kind: 'image-decoded'; readonly image: ImageRecord }
  /** An image has its scores. */
  | { readonly kind: 'image-executed'; readonly image: ImageRecord }
  | { readonly kind: 'image-dropped'; readonly stage: StageName; readonly cause: DropCause }
  /** An image goes to another process because its own was lost. */
  | { readonly kind: 'image-retried'; readonly stage: StageName }
  /** An image ended processes that worked on it, and is quarantined. */
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
  /** The limit was corrected to what the machine answered lately. */
  | {
      readonly kind: 'permits-corrected';
      readonly permits: number;
      readonly imagesPerSecond: number;
    }
  /** There are fewer permits than wanted, because there is too little `short`. */
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
  /** Calls no longer get the version; it answers what it has begun. */
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
  /** New content is in use; `detail` describes it without secrets. */
  | {
      readonly kind: 'credentials-loaded';
      readonly of: CredentialKind;
      readonly detail: Readonly<Record<string, string | number>>;
    }
  /** New content is unusable: the content before it stays in use. */
  | {
      readonly kind: 'credentials-kept';
      readonly of: CredentialKind;
      readonly problems: readonly string[];
    }
  | ChildEvent;

export type Report = (event: ServerEvent) => void;

/** Values that are read with the metrics. */
export interface Gauges {
  readonly state: string;
  readonly permitsLimit: number;
  readonly permitsInUse: number;
  /** Unary image calls whose body is incomplete. */
  readonly uploads: number;
  /** Calls whose rejection is held back. */
  readonly heldRejections: number;
  readonly connections: number;
  readonly slotBytes: number;
  /** Images that wait for a decoder process. */
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
