/*
 * Seals the frames of a batch in one call: writes the CRC-32C of every frame that ends by `limit`.
 *
 * The same algorithm as src/workers/sealer.ts, for the frames of both layouts (docs/format.md), with the processor's CRC instruction. It is optional: without it the
 * TypeScript does the work. The tests hold the two against each other.
 */
#include <stdint.h>
#include <string.h>

#if defined(__x86_64__) || defined(_M_X64)
#include <nmmintrin.h>
#define CRC_U64(crc, value) ((uint32_t)_mm_crc32_u64((crc), (value)))
#define CRC_U8(crc, value) _mm_crc32_u8((crc), (value))
#elif defined(__aarch64__) && defined(__ARM_FEATURE_CRC32)
#include <arm_acle.h>
#define CRC_U64(crc, value) __crc32cd((crc), (value))
#define CRC_U8(crc, value) __crc32cb((crc), (value))
#else
#error "no CRC-32C instruction on this target"
#endif

#if defined(_WIN32)
#define EXPORT __declspec(dllexport)
#else
#define EXPORT __attribute__((visibility("default")))
#endif

enum { HEADER_BYTES = 8, CHECKSUM_BYTES = 4, RECORD_BYTES_MAX = 0x0fffffff };
enum kind { KIND_RECORD = 1, KIND_BOUND_RECORD = 2, KIND_PAD = 3, KIND_MARK = 4 };

/* Where sealing stands; the layout is known to src/platform/native-seal.ts. Integers in host order (little-endian). */
struct seal_state {
  uint64_t frame_start;    /* of the frame that sealing stands in or at */
  uint64_t frame_end;      /* 0 while the header was not read */
  uint64_t checksum;       /* carried so far, finished form */
  uint64_t kind;           /* of that frame */
  uint64_t bound;          /* 1: checksums are bound to journal and LSN */
  uint64_t id_checksum;    /* of the journal's id */
  uint64_t records;        /* sealed so far */
  uint64_t last_record;    /* LSN of the last one */
  uint64_t last_start;     /* of the last sealed frame */
  uint64_t last_kind;
};

static uint32_t crc_run(uint32_t crc, const uint8_t *bytes, uint64_t count) {
  while (count >= 8) {
    uint64_t value;
    memcpy(&value, bytes, 8);
    crc = CRC_U64(crc, value);
    bytes += 8;
    count -= 8;
  }
  while (count-- > 0) crc = CRC_U8(crc, *bytes++);
  return crc;
}

static uint32_t crc_window(uint32_t checksum, const uint8_t *window, uint64_t capacity, uint64_t from, uint64_t to) {
  uint64_t position = from & (capacity - 1);
  uint64_t count = to - from;
  uint64_t first = capacity - position < count ? capacity - position : count;
  uint32_t crc = crc_run(~checksum, window + position, first);
  return ~crc_run(crc, window, count - first);
}

/* Reads the header at `at`; 0 when no frame of this layout lies there. */
static int enter_frame(const uint8_t *window, uint64_t mask, uint64_t at, struct seal_state *state) {
  uint8_t header[HEADER_BYTES];
  uint32_t length;
  for (int i = 0; i < HEADER_BYTES; i++) header[i] = window[(at + i) & mask];
  memcpy(&length, header + 4, 4);
  if (header[0] != 0x46 || header[1] != 0x53 || header[2] != 0x59) return 0;
  if (state->bound ? header[3] < KIND_BOUND_RECORD || header[3] > KIND_MARK : header[3] != KIND_RECORD) return 0;
  if (header[3] != KIND_PAD && length > RECORD_BYTES_MAX) return 0;
  state->kind = header[3];
  state->frame_start = at;
  state->frame_end = at + HEADER_BYTES + length + CHECKSUM_BYTES;
  state->checksum = 0;
  if (state->bound) state->checksum = ~CRC_U64(~(uint32_t)state->id_checksum, at);
  return 1;
}

/* Seals from `at` up to `limit`; returns how far the log is fit to be written, or -1 where no frame was published. */
EXPORT int64_t tidemark_seal(uint8_t *window, uint64_t capacity, uint64_t at, uint64_t limit, struct seal_state *state) {
  const uint64_t mask = capacity - 1;
  for (;;) {
    if (state->frame_end == 0) {
      if (limit - at < HEADER_BYTES) return (int64_t)at;
      if (!enter_frame(window, mask, at, state)) return -1;
    }
    /* The checksum of a pad stands right behind its header; what follows means nothing. */
    uint64_t body_end = state->kind == KIND_PAD ? state->frame_start + HEADER_BYTES : state->frame_end - CHECKSUM_BYTES;
    if (at <= body_end) {
      uint64_t through = limit < body_end ? limit : body_end;
      state->checksum = crc_window((uint32_t)state->checksum, window, capacity, at, through);
      at = through;
      if (limit < body_end + CHECKSUM_BYTES) return (int64_t)at;
      for (int i = 0; i < CHECKSUM_BYTES; i++) window[(body_end + i) & mask] = (uint8_t)(state->checksum >> (8 * i));
    }
    if (limit < state->frame_end) return (int64_t)limit;
    at = state->frame_end;
    if (state->kind <= KIND_BOUND_RECORD) {
      state->records++;
      state->last_record = state->frame_start;
    }
    state->last_start = state->frame_start;
    state->last_kind = state->kind;
    state->frame_start = at;
    state->frame_end = 0;
    if (at == limit) return (int64_t)at;
  }
}
