/*
 * A model server without a model: the far side of every benchmark. It speaks just enough of the OpenAI API, on one
 * thread, and is much faster than any gateway, so that what is measured is the gateway.
 *
 *   mock --port 9000 [--tokens 500] [--interval 10000]
 *
 *   POST /v1/chat/completions   JSON, or with "stream": true server-sent events: a role, --tokens pieces of content one
 *                               every --interval microseconds (0: with no pause), a finish, a usage if the request asks
 *                               for one, [DONE]. Each piece of content is "@t<nanoseconds> ", the monotonic clock at the
 *                               moment it was written: the reader on the other end knows how long it was under way.
 *   GET  /v1/models, /health    what gateways ask before they send anything
 *
 * Streams with a pause are not in step: the first piece of each comes after another fraction of the interval.
 */
#include "shared.h"

#include <sys/timerfd.h>

enum { KEPT_BUFFER = 65536, PROMPT_TOKENS = 9 };

struct connection {
    int socket;
    bool wants_write;        /* epoll waits for room in the socket */
    struct buffer input;     /* what was read and not yet understood */
    struct buffer output;    /* what the socket had no room for */
    size_t written;          /* bytes of output that are gone */
    size_t scanned;          /* bytes of a chunked request's body that were looked at */
    bool streaming, usage;   /* a stream is under way; its request asked for the usage */
    bool counts;             /* ... in every event, as vLLM gives it when asked */
    long left;               /* pieces of content still to send */
    uint64_t due;            /* when the next one is to be sent, ns */
    struct connection *before, *after;   /* neighbours in the schedule */
    bool scheduled;
};

/* The schedule: streams in the order of their next piece. All have the same interval, so a stream that was just served
 * belongs at the end, and only a new one has to look for its place. */
static struct connection *first, *last;

static int poller;
static long tokens = 100;
static uint64_t interval;    /* ns */
static unsigned streams;     /* begun so far; decides each one's phase */

#define EVENT_START "data: {\"id\":\"chatcmpl-tide\",\"object\":\"chat.completion.chunk\",\"created\":1760000000,\"model\":\"mock\","
#define USAGE ",\"usage\":{\"prompt_tokens\":%d,\"completion_tokens\":%ld,\"total_tokens\":%ld}}\n\n"
#define CHOICE_START "\"choices\":[{\"index\":0,\"delta\":"

static const char STREAM_HEAD[] =
    "HTTP/1.1 200 OK\r\nContent-Type: text/event-stream; charset=utf-8\r\nCache-Control: no-cache\r\n"
    "Transfer-Encoding: chunked\r\n\r\n";
static const char ANSWER[] =
    "{\"id\":\"chatcmpl-tide\",\"object\":\"chat.completion\",\"created\":1760000000,\"model\":\"mock\",\"choices\":[{\"index\":0,"
    "\"message\":{\"role\":\"assistant\",\"content\":\"At low tide, eleven metres deep.\"},\"logprobs\":null,"
    "\"finish_reason\":\"stop\"}],\"usage\":{\"prompt_tokens\":9,\"completion_tokens\":7,\"total_tokens\":16}}";
static const char MODELS[] =
    "{\"object\":\"list\",\"data\":[{\"id\":\"mock\",\"object\":\"model\",\"created\":1760000000,\"owned_by\":\"mock\"}]}";

/* ---- the schedule ---- */

static void unschedule(struct connection *c) {
    if (!c->scheduled)
        return;
    *(c->before ? &c->before->after : &first) = c->after;
    *(c->after ? &c->after->before : &last) = c->before;
    c->scheduled = false;
}

static void schedule(struct connection *c) {
    struct connection *place = last;
    while (place && place->due > c->due)
        place = place->before;
    c->before = place;
    c->after = place ? place->after : first;
    *(c->before ? &c->before->after : &first) = c;
    *(c->after ? &c->after->before : &last) = c;
    c->scheduled = true;
}

/* ---- writing ---- */

static void close_connection(struct connection *c) {
    unschedule(c);
    close(c->socket);
    free(c->input.bytes);
    free(c->output.bytes);
    c->socket = -1;          /* freed by the main loop, which may still hold an event for it */
}

static void want_write(struct connection *c, bool wanted) {
    if (c->wants_write == wanted)
        return;
    struct epoll_event event = {.events = EPOLLIN | (wanted ? EPOLLOUT : 0), .data.ptr = c};
    epoll_ctl(poller, EPOLL_CTL_MOD, c->socket, &event);
    c->wants_write = wanted;
}

/* Write what waits. False: the connection is closed, or the socket is full and epoll will tell. */
static bool flush(struct connection *c) {
    while (c->written < c->output.length) {
        ssize_t count = write(c->socket, c->output.bytes + c->written, c->output.length - c->written);
        if (count < 0 && errno == EAGAIN) {
            want_write(c, true);
            return false;
        }
        if (count < 0) {
            close_connection(c);
            return false;
        }
        c->written += (size_t)count;
    }
    c->written = c->output.length = 0;
    want_write(c, false);
    return true;
}

static void append_chunk(struct connection *c, const char *text, size_t length) {
    char size[16];
    append(&c->output, size, (size_t)sprintf(size, "%zx\r\n", length));
    append(&c->output, text, length);
    append(&c->output, "\r\n", 2);
}

static void append_response(struct connection *c, const char *status, const char *body, size_t length) {
    char head[160];
    append(&c->output, head, (size_t)sprintf(head, "HTTP/1.1 %s\r\nContent-Type: application/json\r\nContent-Length: %zu\r\n\r\n",
                                             status, length));
    append(&c->output, body, length);
}

static void append_content(struct connection *c, uint64_t stamp) {
    char event[320];
    int length = sprintf(event, EVENT_START CHOICE_START "{\"content\":\"@t%llu \"},\"logprobs\":null,\"finish_reason\":null}]",
                         (unsigned long long)stamp);
    length += c->counts ? sprintf(event + length, USAGE, PROMPT_TOKENS, tokens - c->left, tokens - c->left + PROMPT_TOKENS)
                        : sprintf(event + length, "}\n\n");
    append_chunk(c, event, (size_t)length);
}

static void append_end(struct connection *c) {
    static const char finish[] = EVENT_START CHOICE_START "{},\"logprobs\":null,\"finish_reason\":\"stop\"}]}\n\n";
    append_chunk(c, finish, sizeof finish - 1);
    if (c->usage) {
        char event[320];
        int length = sprintf(event, EVENT_START "\"choices\":[]" USAGE, PROMPT_TOKENS, tokens, tokens + PROMPT_TOKENS);
        append_chunk(c, event, (size_t)length);
    }
    append_chunk(c, "data: [DONE]\n\n", 14);
    append(&c->output, "0\r\n\r\n", 5);
}

static void start_stream(struct connection *c, bool usage, bool counts) {
    static const char role[] = EVENT_START CHOICE_START
        "{\"role\":\"assistant\",\"content\":\"\"},\"logprobs\":null,\"finish_reason\":null}]}\n\n";
    append(&c->output, STREAM_HEAD, sizeof STREAM_HEAD - 1);
    append_chunk(c, role, sizeof role - 1);
    /* Multiples of the golden ratio fall evenly into the interval, however many there are. */
    double phase = 0.61803398875 * ++streams;
    c->due = now() + (uint64_t)((phase - (double)(uint64_t)phase) * (double)interval);
    c->streaming = true;
    c->usage = usage;
    c->counts = counts;
    c->left = tokens;
    schedule(c);
    flush(c);
}

static bool answer_requests(struct connection *c);

/* One piece for one stream: always a write of its own, as an engine would do it. */
static void serve(struct connection *c, uint64_t time) {
    unschedule(c);
    if (c->left-- > 0)
        append_content(c, time);
    bool ended = c->left <= 0;
    if (ended) {
        append_end(c);
        c->streaming = false;
    }
    c->due += interval;
    if (!flush(c))
        return;              /* a reader that is slow gets its next piece when there is room: see on_event */
    if (ended)
        answer_requests(c);
    else
        schedule(c);
}

/* ---- reading ---- */

/* True if the text holds `name`, a colon and `true`, with or without spaces around the colon. */
static bool says_true(const char *text, size_t length, const char *name) {
    const char *end = text + length, *at = text;
    while ((at = memmem(at, (size_t)(end - at), name, strlen(name)))) {
        at += strlen(name);
        const char *value = at;
        while (value < end && (*value == ' ' || *value == ':'))
            value++;
        if (end - value >= 4 && memcmp(value, "true", 4) == 0)
            return true;
    }
    return false;
}

/* The length of a chunked body that starts at `from`, 0 while it is incomplete. */
static size_t chunked_length(struct connection *c, size_t from) {
    size_t at = from + c->scanned;
    for (;;) {
        char *line_end = at < c->input.length ? memchr(c->input.bytes + at, '\n', c->input.length - at) : NULL;
        if (!line_end)
            return 0;
        size_t size = strtoul(c->input.bytes + at, NULL, 16);
        size_t next = (size_t)(line_end + 1 - c->input.bytes) + size + 2;
        if (next > c->input.length)
            return 0;
        if (size == 0)
            return next - from;
        c->scanned = next - from;
        at = next;
    }
}

/* Take the framing out of a complete chunked body, in place; the length of the content. */
static size_t join_chunks(char *body) {
    size_t length = 0;
    for (char *at = body;;) {
        size_t size = strtoul(at, &at, 16);
        at = strchr(at, '\n') + 1;
        if (size == 0)
            return length;
        memmove(body + length, at, size);
        length += size;
        at += size + 2;
    }
}

static void answer(struct connection *c, const char *body, size_t length) {
    const char *head = c->input.bytes;
    if (strncmp(head, "POST ", 5) == 0) {
        if (says_true(body, length, "\"stream\""))
            start_stream(c, says_true(body, length, "\"include_usage\""), says_true(body, length, "\"continuous_usage_stats\""));
        else
            append_response(c, "200 OK", ANSWER, sizeof ANSWER - 1);
    } else if (strncmp(head, "GET /v1/models", 14) == 0)
        append_response(c, "200 OK", MODELS, sizeof MODELS - 1);
    else if (strncmp(head, "GET /health", 11) == 0)
        append_response(c, "200 OK", "{\"status\":\"ok\"}", 15);
    else
        append_response(c, "404 Not Found", "{}", 2);
}

/* Answer the first request in the input, if all of it is there. */
static bool answer_one(struct connection *c) {
    char *end = memmem(c->input.bytes, c->input.length, "\r\n\r\n", 4);
    if (!end)
        return false;
    *end = 0;                /* the head is text now */
    size_t head = (size_t)(end + 4 - c->input.bytes), body = 0;
    char *length = strcasestr(c->input.bytes, "\r\ncontent-length:");
    bool chunked = strcasestr(c->input.bytes, "\r\ntransfer-encoding: chunked") != NULL;
    *end = '\r';
    if (chunked && !(body = chunked_length(c, head)))
        return false;
    if (length)
        body = strtoul(length + 17, NULL, 10);
    if (c->input.length < head + body) {
        reserve(&c->input, head + body - c->input.length + 1);
        return false;
    }
    answer(c, c->input.bytes + head, chunked ? join_chunks(c->input.bytes + head) : body);
    if (c->socket < 0)
        return false;
    c->input.length -= head + body;
    c->scanned = 0;
    memmove(c->input.bytes, c->input.bytes + head + body, c->input.length);
    if (!c->input.length && c->input.capacity > KEPT_BUFFER) {
        free(c->input.bytes);
        c->input = (struct buffer){0};
    }
    return true;
}

/* Requests are answered one after the other. False: the connection is closed. */
static bool answer_requests(struct connection *c) {
    while (!c->streaming && c->input.length && answer_one(c)) {}
    if (c->socket >= 0 && c->output.length)
        flush(c);
    return c->socket >= 0;
}

static void on_event(struct connection *c, uint32_t events) {
    if (c->socket < 0)
        return;
    if (events & EPOLLOUT && flush(c) && c->streaming && !c->scheduled)
        schedule(c);
    if (c->socket < 0 || !(events & (EPOLLIN | EPOLLHUP | EPOLLERR)))
        return;
    reserve(&c->input, FIRST_BUFFER);
    size_t room = c->input.capacity - c->input.length - 1;
    ssize_t count = read(c->socket, c->input.bytes + c->input.length, room);
    if (count < 0 && errno == EAGAIN)
        return;
    if (count <= 0) {
        close_connection(c);
        return;
    }
    c->input.length += (size_t)count;
    c->input.bytes[c->input.length] = 0;     /* strtoul stops here at the latest */
    answer_requests(c);
}

static void accept_all(int listener) {
    int socket;
    while ((socket = accept4(listener, NULL, NULL, SOCK_NONBLOCK)) >= 0) {
        send_at_once(socket);
        struct connection *c = or_abort(calloc(1, sizeof *c));
        c->socket = socket;
        struct epoll_event event = {.events = EPOLLIN, .data.ptr = c};
        epoll_ctl(poller, EPOLL_CTL_ADD, socket, &event);
    }
}

/* ---- the loop ---- */

static int listen_on(long port) {
    int listener = socket(AF_INET, SOCK_STREAM | SOCK_NONBLOCK, 0), one = 1;
    setsockopt(listener, SOL_SOCKET, SO_REUSEADDR, &one, sizeof one);
    struct sockaddr_in address = loopback(port);
    if (bind(listener, (struct sockaddr *)&address, sizeof address) || listen(listener, 4096)) {
        perror("mock: listen");
        exit(1);
    }
    return listener;
}

/* Wake epoll when the next piece is due; milliseconds, epoll's own unit, would be too coarse. */
static void set_alarm(int timer) {
    static uint64_t set;
    if (!first || first->due == set)
        return;
    set = first->due;
    struct itimerspec at = {.it_value = {.tv_sec = (time_t)(set / 1000000000u), .tv_nsec = (long)(set % 1000000000u)}};
    timerfd_settime(timer, TFD_TIMER_ABSTIME, &at, NULL);
}

/* One piece for each stream that is due. With no pause a stream is due again at once: it waits for the next turn. */
static void serve_due(void) {
    struct connection *stop = last;
    uint64_t time = now();
    for (struct connection *c = first, *next; c && c->due <= time; c = next) {
        next = c == stop ? NULL : c->after;
        serve(c, now());
        if (c->socket < 0)
            free(c);
    }
}

static void run(int listener, int timer) {
    struct epoll_event events[EVENTS];
    struct connection *closed[EVENTS];
    for (;;) {
        bool waiting = !first || first->due > now();
        if (waiting)
            set_alarm(timer);
        int count = epoll_wait(poller, events, EVENTS, waiting ? -1 : 0), closings = 0;
        for (int i = 0; i < count; i++) {
            struct connection *c = events[i].data.ptr;
            uint64_t expirations;
            if (c == (void *)&poller)
                accept_all(listener);
            else if (!c)
                while (read(timer, &expirations, sizeof expirations) > 0) {}
            else {
                on_event(c, events[i].events);
                if (c->socket < 0)
                    closed[closings++] = c;      /* a batch names a socket once: nothing else here points to it */
            }
        }
        while (closings)
            free(closed[--closings]);
        serve_due();
    }
}

int main(int count, char **arguments) {
    tokens = number(count, arguments, "--tokens", "100");
    interval = (uint64_t)number(count, arguments, "--interval", "0") * 1000u;
    prepare_process();
    int listener = listen_on(number(count, arguments, "--port", "0")), timer = timerfd_create(CLOCK_MONOTONIC, TFD_NONBLOCK);
    poller = epoll_create1(0);
    struct epoll_event on_accept = {.events = EPOLLIN, .data.ptr = &poller}, on_time = {.events = EPOLLIN, .data.ptr = NULL};
    epoll_ctl(poller, EPOLL_CTL_ADD, listener, &on_accept);
    epoll_ctl(poller, EPOLL_CTL_ADD, timer, &on_time);
    run(listener, timer);
}
