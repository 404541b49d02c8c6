/*
 * Seals the frames of a batch in one call: writes the CRC-32C of every frame that ends by `limit`.
 *
 * The same algorithm as src/workers/sealer.ts, with the processor's CRC instruction. It is optional: without it the
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

/* "FSY", kind 01, as the bytes lie in memory. */
static const uint8_t RECORD_MAGIC[4] = {0x46, 0x53, 0x59, 0x01};

/* Where sealing stands; the layout is known to src/platform/native-seal.ts. Integers in host order (little-endian). */
struct seal_state {
  uint64_t frame_start; /* of the frame that sealing stands in or at */
  uint64_t frame_end;   /* 0 while the header was not read */
  uint64_t checksum;    /* carried so far, finished form */
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

/* Seals from `at` up to `limit`; returns how far the log is fit to be written, or -1 where no frame was published. */
EXPORT int64_t tidemark_seal(uint8_t *window, uint64_t capacity, uint64_t at, uint64_t limit, struct seal_state *state) {
  const uint64_t mask = capacity - 1;
  for (;;) {
    if (state->frame_end == 0) {
      uint8_t header[HEADER_BYTES];
      uint32_t length;
      if (limit - at < HEADER_BYTES) return (int64_t)at;
      for (int i = 0; i < HEADER_BYTES; i++) header[i] = window[(at + i) & mask];
      memcpy(&length, header + 4, 4);
      if (memcmp(header, RECORD_MAGIC, 4) != 0 || length > RECORD_BYTES_MAX) return -1;
      state->frame_start = at;
      state->frame_end = at + HEADER_BYTES + length + CHECKSUM_BYTES;
      state->checksum = 0;
    }
    uint64_t body_end = state->frame_end - CHECKSUM_BYTES;
    uint64_t through = limit < body_end ? limit : body_end;
    if (through > at) {
      state->checksum = crc_window((uint32_t)state->checksum, window, capacity, at, through);
      at = through;
    }
    if (limit < state->frame_end) return (int64_t)at;
    for (int i = 0; i < CHECKSUM_BYTES; i++) window[(body_end + i) & mask] = (uint8_t)(state->checksum >> (8 * i));
    at = state->frame_end;
    state->frame_start = at;
    state->frame_end = 0;
    if (at == limit) return (int64_t)at;
  }
}
