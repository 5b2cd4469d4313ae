/*
 * The clients of a benchmark: many connections to one gateway, on one thread. Prints one line of JSON.
 *
 *   load --port 8000 --mode requests --connections 32 --seconds 4       whole answers, as fast as they come
 *   load --port 8000 --mode requests --connections 32 --count 100000    the same, so many of them
 *   load --port 8000 --mode streams --connections 64 --rounds 3 --tokens 100
 *   load --port 8000 --mode idle --connections 5000                     one answer each, then silence until stdin ends
 *
 *   --body BYTES   size of the request's body, padded with prompt      --ramp MS   spread the first requests over so long
 *   --usage 1      ask for a usage event and miss it if it is not sent --key, --model, --path
 *
 * A stream is good if it has exactly --tokens pieces of content, a finish reason, [DONE] (of Messages: message_stop) and
 * the end of the HTTP body.
 * Milliseconds: `transit` is from the stamp that the mock wrote into a piece to the moment its bytes are here, `ttft`
 * from the request (the first one of a connection: from connecting) to the first event.
 */
#include "shared.h"

enum { STATUSES = 600, LINE = 32768, READ = 65536, DIALS_AT_ONCE = 32 };
static const uint64_t STALLED = 30000000000u;    /* ns without any event */

enum mode { REQUESTS, STREAMS, IDLE }; enum part { HEAD, CHUNK_SIZE, CHUNK, CHUNK_END, TRAILER, BODY, UNTIL_CLOSE, COMPLETE };

struct connection {
    int socket;
    bool wants_write, last_answer;   /* epoll waits for room; the gateway said that it will close */
    size_t sent;                     /* bytes of the request */
    uint64_t started;
    long left;                       /* streams still to ask for */
    /* the answer */
    enum part part;
    int status;
    size_t missing;                  /* bytes of the body or of the chunk */
    size_t length;                   /* of `line`, which holds the head, then one line of framing or nothing */
    char line[LINE];
    /* the stream */
    size_t event_length;
    char event[LINE];                /* the beginning of a line whose end has not arrived */
    long pieces;
    bool begun, finish, usage, done;
};

struct samples {
    uint32_t *micros;
    size_t count, capacity;
};

static enum mode mode;
static int poller;
static long port;
static long expected, total;             /* pieces a stream must have; requests to send, 0 for no end */
static bool ask_usage;
static struct buffer request;
static struct samples latency, ttft, transit;
static long finished, failed, by_status[STATUSES];
static long closed_early, incomplete, miscounted, stalled;   /* answers that had status 200 or none */
static long active;                      /* connections that still have something to ask */

static void add(struct samples *samples, uint64_t nanoseconds) {
    if (samples->count == samples->capacity) {
        samples->capacity = samples->capacity ? samples->capacity * 2 : 65536;
        samples->micros = or_abort(realloc(samples->micros, samples->capacity * sizeof *samples->micros));
    }
    samples->micros[samples->count++] = nanoseconds / 1000 > UINT32_MAX ? UINT32_MAX : (uint32_t)(nanoseconds / 1000);
}

/* ---- the request ---- */

static void append_text(const char *text) { append(&request, text, strlen(text)); }

static void build_request(const char *key, const char *model, const char *path, size_t size) {
    static const char filler[] = "The tide comes in, and the boats that lay on the sand begin to move, one after the other.\\n";
    struct buffer head = {0};
    append_text("{\"model\":\"");
    append_text(model);
    append_text("\",\"messages\":[{\"role\":\"system\",\"content\":\"You answer harbour pilots briefly.\"},"
                "{\"role\":\"user\",\"content\":\"");
    while (request.length + 256 < size)
        append(&request, filler, sizeof filler - 1);
    append_text("How deep is the harbour at low tide?\"}],\"max_tokens\":256");
    append_text(mode == STREAMS ? ",\"stream\":true" : "");
    append_text(ask_usage ? ",\"stream_options\":{\"include_usage\":true}}" : "}");
    reserve(&head, strlen(key) + strlen(path) + 512);
    head.length = (size_t)sprintf(head.bytes,
        "POST %s HTTP/1.1\r\nHost: 127.0.0.1:%ld\r\nAuthorization: Bearer %s\r\nContent-Type: application/json\r\n"
        "Accept: %s\r\nContent-Length: %zu\r\n\r\n",
        path, port, key, mode == STREAMS ? "text/event-stream" : "application/json", request.length);
    append(&head, request.bytes, request.length);
    free(request.bytes);
    request = head;
}

/* ---- connections ---- */

static void watch(struct connection *c, int change, bool writing) {
    struct epoll_event event = {.events = EPOLLIN | (writing ? EPOLLOUT : 0), .data.ptr = c};
    epoll_ctl(poller, change, c->socket, &event);
    c->wants_write = writing;
}

static void dial(struct connection *c) {
    struct sockaddr_in address = loopback(port);
    c->last_answer = false;
    c->socket = socket(AF_INET, SOCK_STREAM | SOCK_NONBLOCK, 0);
    if (c->socket < 0) {
        perror("load: socket");
        exit(1);
    }
    send_at_once(c->socket);
    connect(c->socket, (struct sockaddr *)&address, sizeof address);    /* how it went is told by epoll */
    watch(c, EPOLL_CTL_ADD, true);
}

static void send_request(struct connection *c) {
    while (c->sent < request.length) {
        ssize_t count = write(c->socket, request.bytes + c->sent, request.length - c->sent);
        if (count < 0)
            break;           /* full: go on when there is room. Broken: reading will say so */
        c->sent += (size_t)count;
    }
    if ((c->sent < request.length) != c->wants_write)
        watch(c, EPOLL_CTL_MOD, !c->wants_write);
}

/* The next request, on the same connection if that is still good. */
static void begin(struct connection *c, bool fresh) {
    c->started = now();
    c->sent = c->missing = c->length = c->event_length = 0;
    c->status = 0;
    c->pieces = 0;
    c->part = HEAD;
    c->begun = c->finish = c->usage = c->done = false;
    if (!fresh) {
        send_request(c);
        return;
    }
    if (c->socket >= 0)
        close(c->socket);
    dial(c);
}

/* ---- the stream ---- */

static bool holds(const char *line, size_t length, const char *text) { return memmem(line, length, text, strlen(text)); }

static void read_event(struct connection *c, const char *line, size_t length, uint64_t time) {
    if (length < 6 || memcmp(line, "data: ", 6))
        return;
    if (!c->begun)
        add(&ttft, time - c->started);
    c->begun = true;
    const char *stamp = memmem(line, length, "@t", 2);
    if (stamp)
        for (; stamp; stamp = memmem(stamp + 2, (size_t)(line + length - stamp - 2), "@t", 2), c->pieces++) {
            uint64_t written = strtoull(stamp + 2, NULL, 10);
            add(&transit, time > written ? time - written : 0);
        }
    else if (holds(line, length, "[DONE]") || holds(line, length, "\"message_stop\""))
        c->done = true;
    else if (holds(line, length, "\"stop\"") || holds(line, length, "\"end_turn\""))
        c->finish = true;
    else if (holds(line, length, "\"completion_tokens\""))
        c->usage = true;
}

/* Cut what came into lines; every event is one line. */
static void read_events(struct connection *c, const char *bytes, size_t count, uint64_t time) {
    while (count) {
        const char *end = memchr(bytes, '\n', count);
        size_t taken = end ? (size_t)(end + 1 - bytes) : count;
        if (end && !c->event_length)
            read_event(c, bytes, taken, time);
        else if (c->event_length + taken <= LINE) {
            memcpy(c->event + c->event_length, bytes, taken);
            c->event_length += taken;
            if (end)
                read_event(c, c->event, c->event_length, time);
        }
        if (end)
            c->event_length = 0;
        bytes += taken;
        count -= taken;
    }
}

/* ---- the answer ---- */

static void read_head(struct connection *c) {
    c->line[c->length] = 0;
    c->length = 0;
    c->status = atoi(c->line + 9);
    c->last_answer = strcasestr(c->line, "\r\nconnection: close") != NULL;
    const char *length = strcasestr(c->line, "\r\ncontent-length:");
    if (strcasestr(c->line, "\r\ntransfer-encoding: chunked"))
        c->part = CHUNK_SIZE;
    else if (length) {
        c->missing = strtoul(length + 17, NULL, 10);
        c->part = c->missing ? BODY : COMPLETE;
    } else {
        c->part = UNTIL_CLOSE;
        c->last_answer = true;
    }
}

/* One byte of the head or of the framing between chunks. */
static void read_framing(struct connection *c, char byte) {
    if (c->length + 1 < LINE)
        c->line[c->length++] = byte;
    if (byte != '\n')
        return;
    if (c->part == HEAD) {
        if (c->length >= 4 && !memcmp(c->line + c->length - 4, "\r\n\r\n", 4))
            read_head(c);
        return;
    }
    bool empty = c->length <= 2;
    c->line[c->length] = 0;
    c->length = 0;
    if (c->part == CHUNK_SIZE) {
        c->missing = strtoul(c->line, NULL, 16);
        c->part = c->missing ? CHUNK : TRAILER;
    } else if (c->part == CHUNK_END)
        c->part = CHUNK_SIZE;
    else if (empty)          /* of a trailer */
        c->part = COMPLETE;
}

static void read_answer(struct connection *c, const char *bytes, size_t count, uint64_t time) {
    while (count && c->part != COMPLETE) {
        if (c->part != CHUNK && c->part != BODY && c->part != UNTIL_CLOSE) {
            read_framing(c, *bytes++);
            count--;
            continue;
        }
        size_t taken = c->part != UNTIL_CLOSE && count > c->missing ? c->missing : count;
        if (mode == STREAMS && c->status == 200)
            read_events(c, bytes, taken, time);
        bytes += taken;
        count -= taken;
        if (c->part == UNTIL_CLOSE)
            continue;
        c->missing -= taken;
        if (!c->missing)
            c->part = c->part == CHUNK ? CHUNK_END : COMPLETE;
    }
}

/* Count the answer that just ended, whole or not. */
static bool account(struct connection *c, uint64_t time) {
    bool good = false;
    if (c->status != 200 && c->status > 0 && c->status < STATUSES)
        by_status[c->status]++;
    else if (c->part != COMPLETE)
        closed_early++;
    else if (mode == STREAMS && !(c->finish && c->done && (c->usage || !ask_usage)))
        incomplete++;
    else if (mode == STREAMS && c->pieces != expected)
        miscounted++;
    else
        good = true;
    *(good ? &finished : &failed) += 1;
    if (good)
        add(&latency, time - c->started);
    return good;
}

/* Nothing more to ask here: an idle connection stays open, unheard. */
static void retire(struct connection *c, bool good) {
    active--;
    epoll_ctl(poller, EPOLL_CTL_DEL, c->socket, NULL);
    if (mode != IDLE || !good)
        close(c->socket);
}

static void on_answer(struct connection *c, uint64_t time) {
    bool good = account(c, time);
    if (mode == IDLE || (mode == STREAMS && --c->left <= 0))
        retire(c, good);
    else
        begin(c, !good || c->last_answer || c->sent < request.length);
}

static void on_event(struct connection *c, uint32_t events) {
    static char bytes[READ];
    if (events & EPOLLOUT && c->wants_write)
        send_request(c);
    if (!(events & (EPOLLIN | EPOLLHUP | EPOLLERR)))
        return;
    ssize_t count = read(c->socket, bytes, sizeof bytes);
    uint64_t time = now();
    if (count < 0 && errno == EAGAIN)
        return;
    if (count > 0)
        read_answer(c, bytes, (size_t)count, time);
    else if (c->part == UNTIL_CLOSE && count == 0)
        c->part = COMPLETE;
    if (c->part == COMPLETE || count <= 0)
        on_answer(c, time);
}

/* ---- the run ---- */

static void run(struct connection *all, long connections, uint64_t duration, uint64_t ramp) {
    struct epoll_event events[EVENTS];
    uint64_t start = now(), latest = start;
    long dialled = 0;
    active = connections;
    while (active && (!duration || latest - start < duration) && (!total || finished + failed < total)) {
        while (dialled < connections && now() - start >= ramp / (uint64_t)connections * (uint64_t)dialled &&
               (mode != IDLE || dialled < finished + failed + DIALS_AT_ONCE))
            begin(&all[dialled++], true);
        int count = epoll_wait(poller, events, EVENTS, dialled < connections ? 1 : 100);
        uint64_t time = now();
        if (!count && time - latest > STALLED && dialled == connections) {
            stalled = active;
            failed += stalled;
            return;
        }
        for (int i = 0; i < count; i++)
            on_event(events[i].data.ptr, events[i].events);
        if (count || duration)
            latest = time;
    }
}

static int by_size(const void *left, const void *right) {
    uint32_t a = *(const uint32_t *)left, b = *(const uint32_t *)right;
    return a < b ? -1 : a > b;
}

static void print_samples(const char *name, struct samples *samples) {
    static const double shares[] = {0.5, 0.9, 0.99, 1};
    static const char *const names[] = {"p50", "p90", "p99", "max"};
    if (samples->count)
        qsort(samples->micros, samples->count, sizeof *samples->micros, by_size);
    printf(",\"%s\":{", name);
    for (int i = 0; i < 4 && samples->count; i++)
        printf("%s\"%s\":%.3f", i ? "," : "", names[i], samples->micros[(size_t)(shares[i] * (double)(samples->count - 1))] / 1000.0);
    printf("}");
}

static void print_error(const char *name, long count) {
    static const char *comma = "";
    if (count) {
        printf("%s\"%s\":%ld", comma, name, count);
        comma = ",";
    }
}

static void print_result(double seconds) {
    char name[8];
    printf("{\"finished\":%ld,\"failed\":%ld,\"tokens\":%zu,\"seconds\":%.4f", finished, failed, transit.count, seconds);
    print_samples("latency", &latency);
    print_samples("ttft", &ttft);
    print_samples("transit", &transit);
    printf(",\"errors\":{");
    for (int status = 0; status < STATUSES; status++) {
        snprintf(name, sizeof name, "%d", status);
        print_error(name, by_status[status]);
    }
    print_error("closed", closed_early);
    print_error("incomplete", incomplete);
    print_error("miscounted", miscounted);
    print_error("stalled", stalled);
    printf("}}\n");
    fflush(stdout);
}

/* Hold the idle connections until stdin ends; print how many the gateway has not closed by then. */
static void wait_and_count(struct connection *all, long connections) {
    char byte;
    long open = 0;
    while (getchar() != EOF) {}
    for (long i = 0; i < connections; i++)
        open += recv(all[i].socket, &byte, 1, MSG_PEEK | MSG_DONTWAIT) < 0 && errno == EAGAIN;
    printf("{\"open\":%ld}\n", open);
}

int main(int count, char **arguments) {
    const char *named = option(count, arguments, "--mode", "requests");
    mode = !strcmp(named, "streams") ? STREAMS : !strcmp(named, "idle") ? IDLE : REQUESTS;
    port = number(count, arguments, "--port", "0");
    expected = number(count, arguments, "--tokens", "0");
    total = number(count, arguments, "--count", "0");
    ask_usage = number(count, arguments, "--usage", "0") && mode == STREAMS;
    long connections = number(count, arguments, "--connections", "1"), rounds = number(count, arguments, "--rounds", "1");
    double seconds = total || mode != REQUESTS ? 0 : atof(option(count, arguments, "--seconds", "1"));
    prepare_process();
    build_request(option(count, arguments, "--key", "none"), option(count, arguments, "--model", "mock"),
                  option(count, arguments, "--path", "/v1/chat/completions"), (size_t)number(count, arguments, "--body", "0"));
    struct connection *all = or_abort(calloc((size_t)connections, sizeof *all));
    for (long i = 0; i < connections; i++)
        all[i] = (struct connection){.socket = -1, .left = rounds};
    poller = epoll_create1(0);
    uint64_t start = now();
    run(all, connections, (uint64_t)(seconds * 1e9), (uint64_t)number(count, arguments, "--ramp", "0") * 1000000u);
    print_result((double)(now() - start) / 1e9);
    if (mode == IDLE)
        wait_and_count(all, connections);
}
