package ort

import (
	"fmt"
	"os"
	"os/exec"
	"path/filepath"
	"regexp"
	"strconv"
	"strings"
	"testing"

	"github.com/google/go-cmp/cmp"

	"github.com/aftonnx/aftonnx/internal/onnxpb"
)

const bindingModule = "github.com/yalue/onnxruntime_go"

// officialHeader is the text of the C API's header in the module that go.mod names, without comments.
func officialHeader(t *testing.T) (dir, text string) {
	t.Helper()
	out, err := exec.Command("go", "list", "-m", "-f", "{{.Dir}}", bindingModule).Output()
	if err != nil {
		t.Fatalf("go list -m %s: %v", bindingModule, err)
	}
	dir = strings.TrimSpace(string(out))
	data, err := os.ReadFile(filepath.Join(dir, "onnxruntime_c_api.h"))
	if err != nil {
		t.Fatal(err)
	}
	text = regexp.MustCompile(`(?s)/\*.*?\*/`).ReplaceAllString(string(data), "")
	return dir, regexp.MustCompile(`//[^\n]*`).ReplaceAllString(text, "")
}

// body is what stands between "struct name {" and its end.
func body(t *testing.T, text, name string) string {
	t.Helper()
	_, rest, found := strings.Cut(text, "struct "+name+" {")
	if !found {
		t.Fatalf("no struct %s", name)
	}
	inner, _, found := strings.Cut(rest, "\n}")
	if !found {
		t.Fatalf("struct %s has no end", name)
	}
	return inner
}

// The members of a table: the macros of the header, or plain function pointers.
var memberPattern = regexp.MustCompile(
	`ORT_API2_STATUS\((\w+)|ORT_CLASS_RELEASE\((\w+)\)|ORT_API_T\([^,]*,\s*(\w+)|\(ORT_API_CALL\s*\*\s*(\w+)\)`)

func members(text string) []string {
	var names []string
	for _, m := range memberPattern.FindAllStringSubmatch(text, -1) {
		name := m[1] + m[3] + m[4]
		if m[2] != "" {
			name = "Release" + m[2]
		}
		names = append(names, name)
	}
	return names
}

func ourHeader(t *testing.T) string {
	t.Helper()
	data, err := os.ReadFile("capi.h")
	if err != nil {
		t.Fatal(err)
	}
	return string(data)
}

// Every slot of ours is where the official table has the function of that name.
func TestSlots(t *testing.T) {
	_, official := officialHeader(t)
	table := members(body(t, official, "OrtApi"))
	if len(table) < 391 {
		t.Fatalf("the official table has %d members only: the header is written in another way", len(table))
	}
	ours := regexp.MustCompile(`X\((\d+), [^,]+, (\w+),`).FindAllStringSubmatch(ourHeader(t), -1)
	if len(ours) < 30 {
		t.Fatalf("found %d slots in capi.h: it is written in another way", len(ours))
	}
	for _, slot := range ours {
		index, err := strconv.Atoi(slot[1])
		if err != nil || index >= len(table) || table[index] != slot[2] {
			t.Errorf("capi.h has %s at %s; the official header has %q there", slot[2], slot[1], table[min(index, len(table)-1)])
		}
	}
}

// Our OrtCustomOp is the beginning of the official one, up to the members of version 17.
//
// Rule R21 of docs/hostile.md.
func TestCustomOpMembers(t *testing.T) {
	_, official := officialHeader(t)
	want := append([]string{"version"}, members(body(t, official, "OrtCustomOp"))...)
	end := strings.Index(ourHeader(t), "} aft_ort_custom_op;")
	begin := strings.Index(ourHeader(t), "uint32_t version;")
	if begin < 0 || end < begin {
		t.Fatal("capi.h: no aft_ort_custom_op")
	}
	got := []string{"version"}
	for _, m := range regexp.MustCompile(`\(\*(\w+)\)\(`).FindAllStringSubmatch(ourHeader(t)[begin:end], -1) {
		got = append(got, m[1])
	}
	if got[len(got)-1] != "GetEndVersion" {
		t.Errorf("the last member is %q, want GetEndVersion, the last of version 17", got[len(got)-1])
	}
	if diff := cmp.Diff(want[:min(len(got), len(want))], got); diff != "" {
		t.Errorf("members (-official +ours):\n%s", diff)
	}
}

// The C compiler compares every index, signature, member and constant with the official header.
func TestHeaderCompiles(t *testing.T) {
	dir, _ := officialHeader(t)
	out, err := exec.Command("go", "env", "CC").Output()
	if err != nil {
		t.Fatal(err)
	}
	cc := strings.Fields(string(out))
	if _, err := exec.LookPath(cc[0]); err != nil {
		t.Skipf("no C compiler: %v", err)
	}
	here, err := os.Getwd()
	if err != nil {
		t.Fatal(err)
	}
	var src strings.Builder
	fmt.Fprintf(&src, "#include \"onnxruntime_c_api.h\"\n#include \"capi.h\"\n")
	src.WriteString(`
#define SAME(a, b) __builtin_types_compatible_p(a, b)
#define CHECK(index, result, name, parameters)                                                   \
  _Static_assert(offsetof(OrtApi, name) == (index) * sizeof(void *), #name ": index");           \
  _Static_assert(SAME(__typeof__(((OrtApi *)0)->name), aft_fn_##name), #name ": signature");
AFT_ORT_SLOTS(CHECK)
#define MEMBER(name)                                                                                               \
  _Static_assert(offsetof(OrtCustomOp, name) == offsetof(aft_ort_custom_op, name), #name ": offset");              \
  _Static_assert(SAME(__typeof__(((OrtCustomOp *)0)->name), __typeof__(((aft_ort_custom_op *)0)->name)), #name ": type");
#define EQUAL(a, b) _Static_assert((int)(a) == (int)(b), #a)
EQUAL(AFT_ORT_FAIL, ORT_FAIL);
EQUAL(AFT_ORT_INVALID_ARGUMENT, ORT_INVALID_ARGUMENT);
EQUAL(AFT_ORT_TYPE_TENSOR, ONNX_TYPE_TENSOR);
EQUAL(AFT_ORT_ARENA_ALLOCATOR, OrtArenaAllocator);
EQUAL(AFT_ORT_MEM_DEFAULT, OrtMemTypeDefault);
EQUAL(AFT_ORT_REQUIRED, INPUT_OUTPUT_REQUIRED);
EQUAL(AFT_ORT_API, ORT_API_VERSION);
_Static_assert(offsetof(OrtApiBase, GetApi) == offsetof(aft_ort_base, GetApi), "GetApi");
_Static_assert(offsetof(OrtApiBase, GetVersionString) == offsetof(aft_ort_base, GetVersionString), "GetVersionString");
`)
	end := strings.Index(ourHeader(t), "} aft_ort_custom_op;")
	begin := strings.Index(ourHeader(t), "uint32_t version;")
	for _, m := range regexp.MustCompile(`\(\*(\w+)\)\(`).FindAllStringSubmatch(ourHeader(t)[begin:end], -1) {
		if m[1] != "InferOutputShapeFn" { // never set; its parameter is opaque here
			fmt.Fprintf(&src, "MEMBER(%s)\n", m[1])
		}
	}
	for number, name := range map[int]string{1: "FLOAT", 7: "INT64", 10: "FLOAT16", 11: "DOUBLE", 16: "BFLOAT16", 9: "BOOL",
		2: "UINT8", 3: "INT8", 4: "UINT16", 5: "INT16", 6: "INT32", 12: "UINT32", 13: "UINT64"} {
		if _, ok := onnxpb.DType(int32(number)); !ok {
			t.Errorf("element type %d (%s) is unknown", number, name)
		}
		fmt.Fprintf(&src, "EQUAL(%d, ONNX_TENSOR_ELEMENT_DATA_TYPE_%s);\n", number, name)
	}
	file := filepath.Join(t.TempDir(), "check.c")
	if err := os.WriteFile(file, []byte(src.String()), 0o666); err != nil {
		t.Fatal(err)
	}
	args := append(cc[1:], "-std=c11", "-fsyntax-only", "-I", dir, "-I", here, file)
	if out, err := exec.Command(cc[0], args...).CombinedOutput(); err != nil {
		t.Errorf("%v\n%s", err, out)
	}
}
