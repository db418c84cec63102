// A peer in Go: graph-gophers/graphql-go on net/http, golang-jwt, and a denylist in Redis that is asked at every request.
//
// It uses all processors, as Go servers do.
package main

import (
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"net"
	"net/http"
	"os"
	"strings"
	"time"

	"github.com/golang-jwt/jwt"
	"github.com/gomodule/redigo/redis"
	graphql "github.com/graph-gophers/graphql-go"
)

const schemaText = `
	enum Role { USER ADMIN }
	type Query { me: User!  items: [Item!]!  plainItems: [PlainItem!]! }
	type User { id: ID!  email: String!  roles: [Role!]! }
	type Item { id: ID!  name: String!  price: Int! }
	type PlainItem { id: ID!  name: String!  price: Int! }`

type user struct {
	ID    graphql.ID
	Email string
	Roles []string
}

type item struct {
	ID    graphql.ID
	Name  string
	Price int32
}

type query struct{}

type callerKey struct{}

var (
	users        = map[string]*user{}
	items        = []*item{}
	errSignedOut = errors.New("not signed in")
)

func (*query) Me(ctx context.Context) (*user, error) {
	if caller := findCaller(ctx); caller != nil {
		return caller, nil
	}
	return nil, errSignedOut
}

func (*query) Items(ctx context.Context) ([]*item, error) {
	if findCaller(ctx) == nil {
		return nil, errSignedOut
	}
	return items, nil
}

func (*query) PlainItems() []*item { return items }

func findCaller(ctx context.Context) *user {
	caller, _ := ctx.Value(callerKey{}).(*user)
	return caller
}

func main() {
	for index := 0; index < 1000; index++ {
		id := fmt.Sprintf("00000000-0000-4000-8000-%012d", index)
		users[id] = &user{graphql.ID(id), fmt.Sprintf("user-%d@bench.example", index), []string{"USER"}}
		items = append(items, &item{graphql.ID(fmt.Sprintf("item-%d", index)), fmt.Sprintf("Item number %d", index), int32(100 + index)})
	}

	schema := graphql.MustParseSchema(schemaText, &query{}, graphql.UseFieldResolvers())
	denylist := &redis.Pool{
		MaxIdle: 256,
		Dial:    func() (redis.Conn, error) { return redis.DialURL(os.Getenv("REDIS_URL")) },
	}
	http.HandleFunc("/graphql", func(response http.ResponseWriter, request *http.Request) {
		answer(schema, denylist, response, request)
	})

	listener, err := net.Listen("tcp", "127.0.0.1:0")
	if err != nil {
		panic(err)
	}
	fmt.Println(listener.Addr().(*net.TCPAddr).Port)
	panic(http.Serve(listener, nil))
}

func answer(schema *graphql.Schema, denylist *redis.Pool, response http.ResponseWriter, request *http.Request) {
	var body struct {
		Query         string
		OperationName string
		Variables     map[string]interface{}
	}
	if err := json.NewDecoder(request.Body).Decode(&body); err != nil {
		http.Error(response, err.Error(), http.StatusBadRequest)
		return
	}
	ctx := request.Context()
	if caller := authenticate(denylist, request.Header.Get("Authorization")); caller != nil {
		ctx = context.WithValue(ctx, callerKey{}, caller)
	}
	text, err := json.Marshal(schema.Exec(ctx, body.Query, body.OperationName, body.Variables))
	if err != nil {
		http.Error(response, err.Error(), http.StatusInternalServerError)
		return
	}
	response.Header().Set("content-type", "application/json; charset=utf-8")
	_, _ = response.Write(text)
}

var parser = jwt.Parser{ValidMethods: []string{"HS256"}, SkipClaimsValidation: true}
var secret = []byte(os.Getenv("JWT_SECRET"))

// Claims of our tokens have fractions of a second, which the library's own type would not read.
type claims struct {
	Issuer   string  `json:"iss"`
	Audience string  `json:"aud"`
	Subject  string  `json:"sub"`
	ID       string  `json:"jti"`
	Expires  float64 `json:"exp"`
}

func (claims) Valid() error { return nil }

func authenticate(denylist *redis.Pool, header string) *user {
	if !strings.HasPrefix(header, "Bearer ") {
		return nil
	}
	var found claims
	_, err := parser.ParseWithClaims(header[len("Bearer "):], &found, func(*jwt.Token) (interface{}, error) {
		return secret, nil
	})
	if err != nil || found.Issuer != "portcullis" || found.Audience != "portcullis" {
		return nil
	}
	if float64(time.Now().UnixMilli())/1000 >= found.Expires {
		return nil
	}
	connection := denylist.Get()
	defer connection.Close()
	isRevoked, err := redis.Bool(connection.Do("EXISTS", os.Getenv("REDIS_PREFIX")+found.ID))
	if err != nil || isRevoked {
		return nil
	}
	return users[found.Subject]
}
